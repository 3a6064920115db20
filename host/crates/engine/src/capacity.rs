//! How many instances this machine can hold.
//!
//! Reads the limits that the system really sets (address space, memory mappings, memory) and derives the size of the pool
//! from them, so that the pool is refused at start rather than found out in the middle of a run.

use std::fs;

/// What one pooled instance reserves of the address space: wasmtime's 4 GiB slot, which lets bounds checks be left out
/// (smaller slots cost 18-35 %), and its 32 MiB guard.
const SLOT_BYTES: u64 = (4 << 30) + (32 << 20);
/// Of the 128 TiB that a process addresses, what the pool may reserve.
const ADDRESS_SPACE_MAX: u64 = 84 << 40;
/// Memory mappings that an instance costs: four of its own, two of its stack, and as many again while slots next to it
/// differ in protection.
const MAPPINGS_PER_INSTANCE: u64 = 8;
/// Mappings that are left to the rest of the process: code, threads, the allocator.
const MAPPINGS_RESERVED: u64 = 4096;
/// Resident bytes of an idle instance (16-24 KiB measured, page tables 8 KiB), its stack, and as much for its actor.
const RESIDENT_PER_INSTANCE: u64 = 64 << 10;
/// The share of the machine's memory that idle instances may take.
const MEMORY_SHARE: u64 = 4;

/// The limits of the machine that bound the number of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `vm.max_map_count`.
    pub mappings: u64,
    /// Memory that the process may use, in bytes: the machine's, or its control group's.
    pub memory: u64,
    /// `RLIMIT_AS`, in bytes.
    pub address_space: u64,
    /// How many instances are wanted at most, whatever the machine can hold. Each place in the pool costs some 10 µs at the start.
    pub wanted: u32,
}

impl Machine {
    /// Reads the limits of this machine; one that cannot be read counts as the kernel's default.
    #[must_use]
    pub fn read() -> Self {
        let address_space = rustix::process::getrlimit(rustix::process::Resource::As)
            .current
            .unwrap_or(u64::MAX);
        Self {
            mappings: read_number("/proc/sys/vm/max_map_count").unwrap_or(65_530),
            memory: memory().unwrap_or(4 << 30),
            address_space,
            wanted: u32::MAX,
        }
    }

    /// The same machine, of which no more instances are wanted than these.
    #[must_use]
    pub fn for_instances(self, wanted: u32) -> Self {
        Self { wanted, ..self }
    }

    /// How many instances may be alive at once, 0 where not even one fits the pool.
    #[must_use]
    pub fn instances(&self) -> u32 {
        let by_mappings = self.mappings.saturating_sub(MAPPINGS_RESERVED) / MAPPINGS_PER_INSTANCE;
        let by_address_space = self.address_space.min(ADDRESS_SPACE_MAX) / SLOT_BYTES;
        let by_memory = self.memory / MEMORY_SHARE / RESIDENT_PER_INSTANCE;
        let holds =
            u32::try_from(by_mappings.min(by_address_space).min(by_memory)).expect("bounded by the address space");
        holds.min(self.wanted)
    }
}

fn memory() -> Option<u64> {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    })?;
    Some(read_number("/sys/fs/cgroup/memory.max").map_or(total, |limit| limit.min(total)))
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Machine = Machine {
        mappings: 65_530,
        memory: 24 << 30,
        address_space: u64::MAX,
        wanted: u32::MAX,
    };

    #[test]
    fn the_default_map_count_allows_thousands_of_instances() {
        assert_eq!(ROOMY.instances(), (65_530 - 4096) / 8);
        assert_eq!(ROOMY.for_instances(100).instances(), 100);
    }

    #[test]
    fn a_small_machine_holds_fewer() {
        assert_eq!(
            Machine {
                memory: 256 << 20,
                ..ROOMY
            }
            .instances(),
            1024
        );
    }

    #[test]
    fn a_limited_address_space_holds_no_pool() {
        assert_eq!(
            Machine {
                address_space: 2 << 30,
                ..ROOMY
            }
            .instances(),
            0
        );
    }
}
