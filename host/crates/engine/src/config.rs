//! How wasmtime is configured.
//!
//! Why each setting is as it is stands in docs/design/001-engine.md, with the measurements.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, ModuleVersionStrategy, OptLevel, PoolingAllocationConfig};

use crate::guest::TABLE_ELEMENTS_MAX;

/// The most core instances that one component may have: a Rust component is one with a handful of small adapters.
const CORE_INSTANCES_MAX: u32 = 16;
/// The most linear memories of a component. Each takes a slot of the pool, with as many addresses as a memory can have.
const MEMORIES_MAX: u32 = 1;
/// The most tables of a component: its own, and that of its adapters.
const TABLES_MAX: u32 = 2;
/// The stack of a guest, on which its own `memory` limit has no hold.
const STACK_BYTES: usize = 512 << 10;
/// Of a dropped instance's memory what is zeroed and kept instead of being given back: more than a built-in operator uses. All
/// places of the pool, which are thousands, come to keep as much sooner or later: with 256 KiB a host grew for ten minutes next
/// to all hostile kinds.
const KEPT_RESIDENT_BYTES: usize = 64 << 10;
/// Likewise of its stack. Turns of the built-in operators use 8 KiB (`/proc/PID/smaps` during `dirigo bench soak`); guests that
/// called themselves deeply left 100 KiB in one place after the other.
const KEPT_STACK_BYTES: usize = 16 << 10;

/// For a pool of so many instances, or for none.
pub(crate) fn config(instances_max: Option<u32>) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .coredump_on_trap(true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .gc_support(false)
        .concurrency_support(false)
        .wasm_memory64(false)
        .memory_init_cow(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(2 * STACK_BYTES)
        .async_stack_zeroing(true);
    config
        .module_version(ModuleVersionStrategy::WasmtimeVersion)
        .expect("a strategy without a string is valid");
    if let Some(instances) = instances_max {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    }
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(instances.saturating_mul(MEMORIES_MAX))
        .total_tables(instances.saturating_mul(TABLES_MAX))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(KEPT_RESIDENT_BYTES)
        .async_stack_keep_resident(KEPT_STACK_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}
