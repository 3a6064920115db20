//! Bulk memory instructions, and the functions that do them in pieces.
//!
//! Knows nothing of where in a module they stand.

use wasm_encoder::{BlockType, Function, InstructionSink};
use wasmparser::Operator;

use super::touch::let_others_run;

/// How much one instruction moves at most. At the 62 bytes/ns that copies were measured at these are 4 µs, and where
/// each page is touched for the first time, 64 page faults of 0.5 to 4 µs. Between two of them the host looks at the clock,
/// which takes 0.1 µs: the fuel that they burn does not tell the one from the other.
pub(super) const PIECE_BYTES: i32 = 256 << 10;
/// A bulk instruction. All functions for the same one are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bulk {
    Copy { from: u32, to: u32 },
    Fill { memory: u32 },
    Init { memory: u32, segment: u32 },
}

impl Bulk {
    pub(super) fn of(operator: &Operator<'_>) -> Option<Self> {
        match *operator {
            Operator::MemoryCopy { dst_mem, src_mem } => Some(Self::Copy {
                from: src_mem,
                to: dst_mem,
            }),
            Operator::MemoryFill { mem } => Some(Self::Fill { memory: mem }),
            Operator::MemoryInit { data_index, mem } => Some(Self::Init {
                memory: mem,
                segment: data_index,
            }),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Copy { .. } => "memory.copy in pieces",
            Self::Fill { .. } => "memory.fill in pieces",
            Self::Init { .. } => "memory.init in pieces",
        }
    }

    /// The memory that it writes to.
    fn to(self) -> u32 {
        match self {
            Self::Copy { to, .. } => to,
            Self::Fill { memory } | Self::Init { memory, .. } => memory,
        }
    }

    pub(super) fn emit(self, code: &mut InstructionSink<'_>) {
        match self {
            Self::Copy { from, to } => code.memory_copy(to, from),
            Self::Fill { memory } => code.memory_fill(memory),
            Self::Init { memory, segment } => code.memory_init(memory, segment),
        };
    }
}

/// The function that does `bulk` for a length of more than a piece, which is its last parameter.
///
/// What would trap is left to the instruction itself, which checks before it writes.
pub(super) fn function(bulk: Bulk) -> Vec<u8> {
    const TO: u32 = 0;
    /// Where from; of a fill, with what.
    const FROM: u32 = 1;
    const LENGTH: u32 = 2;
    let mut function = Function::new([]);
    let mut code = function.instructions();
    let whole = |code: &mut InstructionSink<'_>| {
        code.local_get(TO).local_get(FROM).local_get(LENGTH);
        bulk.emit(code);
        code.return_();
    };
    let whole_if_short = |code: &mut InstructionSink<'_>| {
        code.local_get(LENGTH)
            .i32_const(PIECE_BYTES)
            .i32_le_u()
            .if_(BlockType::Empty);
        whole(code);
        code.end();
    };
    match bulk {
        Bulk::Copy { from, to } => {
            ends_beyond(&mut code, TO, to);
            ends_beyond(&mut code, FROM, from);
            code.i32_or();
        }
        Bulk::Fill { memory } => ends_beyond(&mut code, TO, memory),
        Bulk::Init { memory, .. } => {
            ends_beyond(&mut code, TO, memory);
            // A segment ends before 4 GiB.
            end_of(&mut code, FROM);
            code.i64_const(i64::from(u32::MAX)).i64_gt_u().i32_or();
        }
    }
    code.if_(BlockType::Empty);
    whole(&mut code);
    code.end();
    if let Bulk::Init { .. } = bulk {
        // Whether the segment is that long, or dropped, only an instruction that moves nothing can tell.
        code.i32_const(0)
            .local_get(FROM)
            .local_get(LENGTH)
            .i32_add()
            .i32_const(0);
        bulk.emit(&mut code);
    }
    if let Bulk::Copy { from, to } = bulk
        && from == to
    {
        // Where they overlap and the destination lies behind, from the end.
        code.local_get(TO).local_get(FROM).i32_gt_u().if_(BlockType::Empty);
        code.loop_(BlockType::Empty);
        whole_if_short(&mut code);
        code.local_get(LENGTH)
            .i32_const(PIECE_BYTES)
            .i32_sub()
            .local_set(LENGTH);
        code.local_get(TO).local_get(LENGTH).i32_add();
        code.local_get(FROM).local_get(LENGTH).i32_add();
        code.i32_const(PIECE_BYTES);
        bulk.emit(&mut code);
        let_others_run(&mut code, bulk.to());
        code.br(0).end().end();
    }
    code.loop_(BlockType::Empty);
    whole_if_short(&mut code);
    code.local_get(TO).local_get(FROM).i32_const(PIECE_BYTES);
    bulk.emit(&mut code);
    code.local_get(TO).i32_const(PIECE_BYTES).i32_add().local_set(TO);
    if !matches!(bulk, Bulk::Fill { .. }) {
        code.local_get(FROM).i32_const(PIECE_BYTES).i32_add().local_set(FROM);
    }
    code.local_get(LENGTH)
        .i32_const(PIECE_BYTES)
        .i32_sub()
        .local_set(LENGTH);
    let_others_run(&mut code, bulk.to());
    code.br(0).end().end();
    function.into_raw_body()
}

/// Pushes where the range ends that begins at a parameter and has the length that is another, as an `i64`.
fn end_of(code: &mut InstructionSink<'_>, begin: u32) {
    const LENGTH: u32 = 2;
    code.local_get(begin).i64_extend_i32_u();
    code.local_get(LENGTH).i64_extend_i32_u().i64_add();
}

/// Pushes whether that range ends beyond `memory`.
fn ends_beyond(code: &mut InstructionSink<'_>, begin: u32, memory: u32) {
    /// A page has 2^16 bytes.
    const PAGE_BITS: i64 = 16;
    end_of(code, begin);
    code.memory_size(memory)
        .i64_extend_i32_u()
        .i64_const(PAGE_BITS)
        .i64_shl();
    code.i64_gt_u();
}
