//! Code that cannot keep a worker: bulk memory instructions in pieces, new memory that is touched in pieces ([`touch`]), and
//! straight lines with places to yield.
//!
//! A guest yields where a loop or a function begins, and nowhere else.
//!
//! `memory.copy`, `memory.fill` and `memory.init` run to their end before a guest yields, however long they are: 16 MiB take
//! 2 ms, 1 GiB a tenth of a second. So before a component is compiled, each of them whose operand may exceed
//! [`PIECE_BYTES`] is rewritten to
//!
//! ```wat
//! local.tee $length
//! (if (i32.gt_u (i32.const PIECE_BYTES))
//!   (then (call $in_pieces (local.get $length)))    ;; an added function: a loop over pieces
//!   (else (memory.copy (local.get $length))))       ;; as it was
//! ```
//!
//! which costs a short copy a comparison, and lets a long one yield between pieces. What traps, traps as before, with nothing
//! written. And where [`STRAIGHT_MAX`](module::STRAIGHT_MAX) instructions follow one another without a loop, one that loops over nothing is put
//! between them. Everything else of a component stays as it is, byte for byte, but for debugging information in the modules
//! that are changed: the places that it speaks of have moved.
//!
//! Knows the binary format, and nothing of engines or of what a component is for.

mod instances;
mod module;
mod pieces;
mod touch;

use std::borrow::Cow;

use wasm_encoder::Encode as _;
use wasmparser::{BinaryReader, FunctionBody};

use module::rewrite_module;
pub(crate) use touch::LET_OTHERS_RUN_BYTES;

/// Changes with what is written: compiled code is kept under it. A test sees to that.
pub(crate) const VERSION: u32 = 6;
/// The largest body of a function. The compiler works on a function as a whole, so this bounds the time and the memory of
/// what cannot be interrupted: a function of 1 MiB took it minutes. The main loop of `CPython` has about 100 KiB.
const FUNCTION_BYTES_MAX: usize = 256 << 10;
/// The most code of one component, and the most functions: about the size of an interpreter with its libraries, several
/// times over.
const CODE_BYTES_MAX: usize = 64 << 20;
const FUNCTIONS_MAX: usize = 200_000;
/// The most data segments, and the most items of element segments, which are what tables hold: the compiler, and each
/// instance, takes them one after the other. 90,000 segments of one byte took it 157 s.
const DATA_SEGMENTS_MAX: usize = 10_000;
const ELEMENTS_MAX: usize = 100_000;
const ELEMENT_SEGMENTS_MAX: usize = 10_000;
/// How deep blocks of a function may be nested, and how many places all branch tables of a function may name: what the compiler
/// takes grows with their square. A `switch` of a thousand cases has a thousand of both.
const BLOCK_DEPTH_MAX: usize = 2_000;
const BRANCH_TARGETS_MAX: usize = 10_000;
/// How deep components may be nested in one another. Those that tools compose have a few levels.
const DEPTH_MAX: u32 = 16;

/// Why a component is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It cannot be read.
    #[error("is not a valid component: {0}")]
    Malformed(String),
    /// It would take the compiler too long.
    #[error("{what} {found}, more than the {most} that this host compiles")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: usize,
        /// What would be taken.
        most: usize,
    },
}

impl From<wasmparser::BinaryReaderError> for Refused {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The component with its long bulk instructions in pieces.
///
/// # Errors
/// When it is malformed, or too large to be compiled in reasonable time. What it takes need not be valid: the compiler
/// looks at the result.
pub(crate) fn in_pieces(component: &[u8]) -> Result<Cow<'_, [u8]>, Refused> {
    instances::check(component)?;
    let mut seen = Seen {
        lends_memory: lends_memory(component, 0)?,
        ..Seen::default()
    };
    rewrite_component(component, 0, &mut seen)
}

/// What was seen of a component so far.
#[derive(Default)]
struct Seen {
    /// Whether a module in it has a memory and no functions: others have the use of it.
    lends_memory: bool,
    code_bytes: usize,
    functions: usize,
    data_segments: usize,
    element_segments: usize,
    elements: usize,
}

/// Core modules and components inside of a component, as sections.
const MODULE: u8 = 1;
const COMPONENT: u8 = 4;

fn lends_memory(component: &[u8], depth: u32) -> Result<bool, Refused> {
    check_depth(depth)?;
    for (kind, contents) in sections(component)? {
        let lends = match kind {
            MODULE => module::only_lends_memory(contents)?,
            COMPONENT => lends_memory(contents, depth + 1)?,
            _ => false,
        };
        if lends {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check_depth(depth: u32) -> Result<(), Refused> {
    if depth > DEPTH_MAX {
        return Err(Refused::Malformed(format!(
            "components are nested deeper than {DEPTH_MAX} levels"
        )));
    }
    Ok(())
}

impl Seen {
    fn add(&mut self, body: &FunctionBody<'_>) -> Result<(), Refused> {
        let bytes = body.as_bytes().len();
        self.code_bytes += bytes;
        self.functions += 1;
        let bounds = [
            ("has a function whose bytes number", bytes, FUNCTION_BYTES_MAX),
            ("has code whose bytes number", self.code_bytes, CODE_BYTES_MAX),
            ("has functions that number", self.functions, FUNCTIONS_MAX),
        ];
        within(bounds)
    }

    fn add_segments(&mut self, data: usize, elements: impl IntoIterator<Item = u32>) -> Result<(), Refused> {
        self.data_segments += data;
        for items in elements {
            self.element_segments += 1;
            self.elements += items as usize;
        }
        within([
            ("has data segments that number", self.data_segments, DATA_SEGMENTS_MAX),
            (
                "has element segments that number",
                self.element_segments,
                ELEMENT_SEGMENTS_MAX,
            ),
            ("has elements that number", self.elements, ELEMENTS_MAX),
        ])
    }
}

/// Refuses what there is too much of: each is what it is, how much of it was found, and the most.
fn within<const N: usize>(bounds: [(&'static str, usize, usize); N]) -> Result<(), Refused> {
    match bounds.into_iter().find(|(_, found, most)| found > most) {
        Some((what, found, most)) => Err(Refused::TooLarge { what, found, most }),
        None => Ok(()),
    }
}

/// A section of a binary: its kind, and what is in it.
type Section<'a> = (u8, &'a [u8]);

const HEADER_BYTES: usize = 8;

/// The sections behind the header.
fn sections(binary: &[u8]) -> Result<Vec<Section<'_>>, Refused> {
    let mut reader = BinaryReader::new(binary, 0);
    reader.read_bytes(HEADER_BYTES)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let kind = reader.read_u8()?;
        let bytes = reader.read_var_u32()? as usize;
        sections.push((kind, reader.read_bytes(bytes)?));
    }
    Ok(sections)
}

/// Puts sections behind the header of `binary`.
fn assemble<'a>(binary: &[u8], sections: impl IntoIterator<Item = (u8, Cow<'a, [u8]>)>) -> Vec<u8> {
    let mut out = binary[..HEADER_BYTES].to_vec();
    for (kind, contents) in sections {
        out.push(kind);
        contents.encode(&mut out);
    }
    out
}

fn rewrite_component<'a>(component: &'a [u8], depth: u32, seen: &mut Seen) -> Result<Cow<'a, [u8]>, Refused> {
    check_depth(depth)?;
    let mut is_changed = false;
    let mut written = Vec::new();
    for (kind, contents) in sections(component)? {
        let contents = match kind {
            MODULE => rewrite_module(contents, seen)?,
            COMPONENT => rewrite_component(contents, depth + 1, seen)?,
            _ => Cow::Borrowed(contents),
        };
        is_changed |= matches!(contents, Cow::Owned(_));
        written.push((kind, contents));
    }
    Ok(if is_changed {
        Cow::Owned(assemble(component, written))
    } else {
        Cow::Borrowed(component)
    })
}

#[cfg(test)]
mod tests;
