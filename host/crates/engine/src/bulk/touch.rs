//! New memory, touched in pieces.
//!
//! `memory.grow` hands out pages that the system has yet to find: the first touch of each takes 0.5 to 60 µs
//! (docs/design/001-engine.md), and burns a unit of fuel. So each `memory.grow` becomes a call of an added function, which grows
//! the memory and then touches what is new, page by page; after each it asks for the growth that cannot be,
//! [`LET_OTHERS_RUN`], which the host takes as the place to look at the clock and yield. A module whose memory begins
//! with more than [`START_PAGES_MAX`] pages, its own or one that a module without functions lends it, touches them likewise
//! before it starts. So no
//! other instruction meets a page for the first time, but within what is too little to be touched.

use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, ValType};

/// More pages than 32 bits address: a growth by so many fails. It burns next to no fuel and passes through the host's limiter,
/// which may take its time.
const LET_OTHERS_RUN: i32 = -1;
/// [`LET_OTHERS_RUN`] in bytes.
pub(crate) const LET_OTHERS_RUN_BYTES: u64 = (u32::MAX as u64) << PAGE_BITS;
/// A memory may begin with so many pages that nobody has touched: a stack of 1 MiB, as compilers make it without being asked,
/// and 256 KiB of data. To touch them at each start would take longer than all else there; all at once take 0.2 to 1 ms.
const START_PAGES_MAX: u32 = 20;
/// It may grow by so many besides, 256 KiB: a guest that grows by a few bytes uses one page of the system, not sixteen.
const GROWN_PAGES_MAX: u32 = 4;
/// The bytes of a page of WebAssembly, as a power of two.
const PAGE_BITS: u32 = 16;
/// The bytes of a page of the system, at least, as a power of two.
const SYSTEM_PAGE_BITS: u32 = 12;

/// What touches new memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// In the place of `memory.grow`: from the pages to add to the pages before, or -1.
    Grow { memory: u32, untouched_pages: u32 },
    /// Before the module starts, with the number of its own start function.
    Start { then: Option<u32> },
}

impl Touch {
    /// In the place of a `memory.grow` of a module whose memory begins with so many pages.
    pub(super) fn growth(memory: u32, start_pages: u64) -> Self {
        let start_pages = u32::try_from(start_pages).unwrap_or(u32::MAX);
        Self::Grow {
            memory,
            untouched_pages: start_pages.min(START_PAGES_MAX) + GROWN_PAGES_MAX,
        }
    }

    /// What a module needs whose own memory begins with so many pages.
    pub(super) fn at_start(pages: u64, then: Option<u32>) -> Option<Self> {
        (pages > START_PAGES_MAX.into()).then_some(Self::Start { then })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grow { .. } => "memory.grow and touch",
            Self::Start { .. } => "touch before the start",
        }
    }

    pub(super) fn function(self) -> Vec<u8> {
        match self {
            Self::Grow {
                memory,
                untouched_pages,
            } => grow(memory, untouched_pages),
            Self::Start { then } => start(then),
        }
    }
}

fn grow(memory: u32, untouched_pages: u32) -> Vec<u8> {
    const DELTA: u32 = 0;
    const BEFORE: u32 = 1;
    const AT: u32 = 2;
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    code.local_get(DELTA).memory_grow(memory).local_tee(BEFORE);
    code.i32_const(-1).i32_eq().if_(BlockType::Empty);
    code.i32_const(-1).return_().end();
    code.local_get(BEFORE).local_get(DELTA).i32_add();
    code.i32_const(untouched_pages.cast_signed()).i32_le_u();
    code.if_(BlockType::Empty).local_get(BEFORE).return_().end();
    code.local_get(BEFORE)
        .i32_const(PAGE_BITS.cast_signed())
        .i32_shl()
        .local_set(AT);
    touch(&mut code, memory, AT, DELTA, Contents::Zeros);
    code.local_get(BEFORE).end();
    function.into_raw_body()
}

fn start(then: Option<u32>) -> Vec<u8> {
    const MEMORY: u32 = 0;
    const AT: u32 = 0;
    const LEFT: u32 = 1;
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    code.memory_size(MEMORY).local_tee(LEFT);
    code.i32_const(START_PAGES_MAX.cast_signed()).i32_gt_u();
    code.if_(BlockType::Empty);
    touch(&mut code, MEMORY, AT, LEFT, Contents::Data);
    code.end();
    if let Some(then) = then {
        code.call(then);
    }
    code.end();
    function.into_raw_body()
}

/// What is in memory that nobody has touched.
#[derive(Clone, Copy)]
enum Contents {
    Zeros,
    /// Zeros, and what the module's data segments put there.
    Data,
}

/// Writes to each page of the system what is there, from the address in `at` on, for as many pages of WebAssembly as `left`
/// says. Where these are zeros nothing is read before: the first read of a page gets the kernel's page of zeros, and the write
/// then gets another in its place, in a second page fault and with an interrupt of every processor.
fn touch(code: &mut InstructionSink<'_>, memory: u32, at: u32, left: u32, contents: Contents) {
    let here = MemArg {
        offset: 0,
        align: 0,
        memory_index: memory,
    };
    let system_pages = (PAGE_BITS - SYSTEM_PAGE_BITS).cast_signed();
    code.local_get(left).i32_const(system_pages).i32_shl().local_set(left);
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(left).i32_eqz().br_if(1);
    code.local_get(at);
    match contents {
        Contents::Zeros => code.i32_const(0),
        Contents::Data => code.local_get(at).i32_load8_u(here),
    };
    code.i32_store8(here);
    code.local_get(at)
        .i32_const(1 << SYSTEM_PAGE_BITS)
        .i32_add()
        .local_set(at);
    code.local_get(left).i32_const(1).i32_sub().local_set(left);
    let_others_run(code, memory);
    code.br(0).end().end();
}

/// Lets the host look at the clock, and others run if it has been long.
pub(super) fn let_others_run(code: &mut InstructionSink<'_>, memory: u32) {
    code.i32_const(LET_OTHERS_RUN).memory_grow(memory).drop();
}
