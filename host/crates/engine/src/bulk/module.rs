//! Rewriting one core module: its code, and the functions and types that are added for that.

use std::borrow::Cow;

use wasm_encoder::{BlockType, Encode as _, InstructionSink, ValType};
use wasmparser::{
    BinaryReader, CodeSectionReader, CompositeInnerType, DataSectionReader, ElementItems, ElementSectionReader,
    FunctionBody, FunctionSectionReader, ImportSectionReader, MemorySectionReader, Operator, TypeRef,
    TypeSectionReader,
};

use super::pieces::{Bulk, PIECE_BYTES, function};
use super::touch::Touch;
use super::{BLOCK_DEPTH_MAX, BRANCH_TARGETS_MAX, Refused, Section, Seen, assemble, sections, within};

/// Instructions between two places to yield. The slowest are those that touch a page of memory for the first time, where that
/// is still possible, and three make one of them: 0.3 to 0.7 ms at up to 4 µs a page.
pub(super) const STRAIGHT_MAX: u32 = 512;

/// The sections of a core module that matter here.
mod section {
    pub(super) const CUSTOM: u8 = 0;
    pub(super) const TYPE: u8 = 1;
    pub(super) const IMPORT: u8 = 2;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const MEMORY: u8 = 5;
    pub(super) const START: u8 = 8;
    /// Elements, the number of data segments, code, data: one of them is there where there are functions.
    pub(super) const BEHIND_START: [u8; 4] = [ELEMENT, 12, CODE, DATA];
    pub(super) const ELEMENT: u8 = 9;
    pub(super) const CODE: u8 = 10;
    pub(super) const DATA: u8 = 11;
}

/// Whether a module has a memory and no functions: others have the use of it.
pub(super) fn only_lends_memory(module: &[u8]) -> Result<bool, Refused> {
    let sections = sections(module)?;
    let has = |wanted| sections.iter().any(|&(kind, _)| kind == wanted);
    Ok(has(section::MEMORY) && !has(section::FUNCTION))
}

/// What has to be known of a core module before its code is looked at.
#[derive(Default)]
struct Outline {
    types: u32,
    /// The number of parameters of each type; of one that is no function, 0.
    params: Vec<u32>,
    imported: u32,
    imports_memory: bool,
    /// The pages that its first memory begins with; of one that is imported, at least.
    start_pages: u64,
    start: Option<u32>,
    /// The type of each function that is defined.
    defined: Vec<u32>,
    /// The size of each data segment.
    data_bytes: Vec<usize>,
    /// How many items each element segment has.
    elements: Vec<u32>,
}

impl Outline {
    fn of(sections: &[Section<'_>]) -> Result<Self, Refused> {
        let mut outline = Self::default();
        for &(kind, contents) in sections {
            let reader = BinaryReader::new(contents, 0);
            match kind {
                section::TYPE => {
                    for group in TypeSectionReader::new(reader)? {
                        for ty in group?.types() {
                            let params = match &ty.composite_type.inner {
                                CompositeInnerType::Func(function) => function.params().len(),
                                _ => 0,
                            };
                            outline.params.push(u32::try_from(params).unwrap_or(u32::MAX));
                        }
                    }
                }
                section::IMPORT => {
                    for import in ImportSectionReader::new(reader)?.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => outline.imported += 1,
                            TypeRef::Memory(memory) => {
                                if !outline.imports_memory {
                                    outline.start_pages = memory.initial;
                                }
                                outline.imports_memory = true;
                            }
                            _ => {}
                        }
                    }
                }
                section::FUNCTION => {
                    outline.defined = FunctionSectionReader::new(reader)?
                        .into_iter()
                        .collect::<Result<_, _>>()?;
                }
                section::MEMORY => {
                    let first = MemorySectionReader::new(reader)?.into_iter().next().transpose()?;
                    if let Some(memory) = first.filter(|_| !outline.imports_memory) {
                        outline.start_pages = memory.initial;
                    }
                }
                section::START => outline.start = Some(BinaryReader::new(contents, 0).read_var_u32()?),
                section::DATA => {
                    for data in DataSectionReader::new(reader)? {
                        outline.data_bytes.push(data?.data.len());
                    }
                }
                section::ELEMENT => {
                    for element in ElementSectionReader::new(reader)? {
                        outline.elements.push(match element?.items {
                            ElementItems::Functions(items) => items.count(),
                            ElementItems::Expressions(_, items) => items.count(),
                        });
                    }
                }
                _ => {}
            }
        }
        outline.types = count(outline.params.len())?;
        Ok(outline)
    }

    /// The index of the first local behind the parameters of the `n`th function that is defined.
    fn params_of(&self, n: usize) -> Result<u32, Refused> {
        let ty = self.defined.get(n).and_then(|&ty| self.params.get(ty as usize));
        ty.copied()
            .ok_or_else(|| Refused::Malformed("a function without a type".into()))
    }

    /// What touches its memory before it starts. A module without functions, which lends its memory, cannot: whoever has the
    /// use of that does. Others that are lent one find it touched.
    fn touch_at_start(&self, lends_memory: bool) -> Option<Touch> {
        if self.defined.is_empty() || (self.imports_memory && !lends_memory) {
            None
        } else if self.imports_memory {
            Some(Touch::Start { then: self.start })
        } else {
            Touch::at_start(self.start_pages, self.start)
        }
    }

    /// Whether the instruction never moves more than a piece, or traps.
    fn is_short(&self, bulk: Bulk) -> bool {
        match bulk {
            Bulk::Init { segment, .. } => self
                .data_bytes
                .get(segment as usize)
                .is_none_or(|&bytes| bytes <= PIECE_BYTES.cast_unsigned() as usize),
            Bulk::Copy { .. } | Bulk::Fill { .. } => false,
        }
    }
}

fn count(items: usize) -> Result<u32, Refused> {
    u32::try_from(items).map_err(|_| Refused::Malformed("an index beyond 32 bits".into()))
}

pub(super) fn rewrite_module<'a>(module: &'a [u8], seen: &mut Seen) -> Result<Cow<'a, [u8]>, Refused> {
    let sections = sections(module)?;
    let outline = Outline::of(&sections)?;
    seen.add_segments(outline.data_bytes.len(), outline.elements.iter().copied())?;
    let mut added = Added::new(&outline)?;
    let mut bodies = Vec::new();
    for &(kind, contents) in &sections {
        if kind == section::CODE {
            for (n, body) in CodeSectionReader::new(BinaryReader::new(contents, 0))?
                .into_iter()
                .enumerate()
            {
                let body = body?;
                seen.add(&body)?;
                bodies.push(rewrite_body(&body, n, &outline, &mut added)?);
            }
        }
    }
    let start = match outline.touch_at_start(seen.lends_memory) {
        Some(touch) => Some(added.function(Extra::Touch(touch))?),
        None => None,
    };
    if start.is_none() && bodies.iter().all(|body| matches!(body, Cow::Borrowed(_))) {
        return Ok(Cow::Borrowed(module));
    }
    let mut written = Vec::new();
    let mut new_start = start;
    for (kind, contents) in sections {
        if section::BEHIND_START.contains(&kind)
            && let Some(start) = new_start.take()
        {
            let mut number = Vec::new();
            start.encode(&mut number);
            written.push((section::START, Cow::Owned(number)));
        }
        let contents = match kind {
            section::START if start.is_some() => continue,
            section::TYPE => {
                let mut types = Vec::new();
                Extra::SIGNATURES
                    .iter()
                    .for_each(|&(params, results)| signature(params, results, &mut types));
                // Groups of types count once each.
                Cow::Owned(appended(contents, count(Extra::SIGNATURES.len())?, &types)?)
            }
            section::FUNCTION => {
                let mut types = Vec::new();
                for extra in &added.functions {
                    outline.types.saturating_add(extra.signature()).encode(&mut types);
                }
                Cow::Owned(appended(contents, count(added.functions.len())?, &types)?)
            }
            section::CODE => {
                let functions = added.functions.iter().map(|&extra| Cow::Owned(extra.function()));
                let bodies: Vec<Cow<'_, [u8]>> = std::mem::take(&mut bodies).into_iter().chain(functions).collect();
                let mut code = Vec::with_capacity(contents.len() + bodies.len());
                count(bodies.len())?.encode(&mut code);
                bodies.iter().for_each(|body| body.encode(&mut code));
                Cow::Owned(code)
            }
            section::CUSTOM if is_debugging(contents)? => continue,
            section::CUSTOM => match name_functions(contents, &added) {
                Ok(Some(names)) => Cow::Owned(names),
                // Names are for people: those that cannot be read are none.
                Ok(None) | Err(_) => Cow::Borrowed(contents),
            },
            _ => Cow::Borrowed(contents),
        };
        written.push((kind, contents));
    }
    Ok(Cow::Owned(assemble(module, written)))
}

/// A function that is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    /// Does an instruction in pieces.
    Pieces(Bulk),
    Touch(Touch),
}

impl Extra {
    /// The types that are added for them, as their numbers of `i32` parameters and results. The second is that of the operands
    /// of a bulk instruction without the length, which stay on the stack while it is compared.
    const SIGNATURES: [(u32, u32); 4] = [(3, 0), (2, 0), (1, 1), (0, 0)];

    /// Which of these it has.
    fn signature(self) -> u32 {
        match self {
            Self::Pieces(_) => 0,
            Self::Touch(Touch::Grow { .. }) => 2,
            Self::Touch(Touch::Start { .. }) => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pieces(bulk) => bulk.name(),
            Self::Touch(touch) => touch.name(),
        }
    }

    fn function(self) -> Vec<u8> {
        match self {
            Self::Pieces(bulk) => function(bulk),
            Self::Touch(touch) => touch.function(),
        }
    }
}

/// The functions that are added behind the module's own, in the order of their numbers.
struct Added {
    functions: Vec<Extra>,
    /// The number of the first.
    first: u32,
    /// The type of a bulk instruction's operands without the length.
    operands: u32,
}

impl Added {
    fn new(outline: &Outline) -> Result<Self, Refused> {
        let first = count(outline.defined.len())?.checked_add(outline.imported);
        Ok(Self {
            functions: Vec::new(),
            first: first.ok_or_else(|| Refused::Malformed("an index beyond 32 bits".into()))?,
            operands: outline.types.saturating_add(1),
        })
    }

    /// The number of a function, which is added if it is not there yet.
    fn function(&mut self, extra: Extra) -> Result<u32, Refused> {
        let known = self.functions.iter().position(|&known| known == extra);
        let at = known.unwrap_or_else(|| {
            self.functions.push(extra);
            self.functions.len() - 1
        });
        Ok(self.first.saturating_add(count(at)?))
    }
}

/// The body of the `n`th function that is defined, with its long bulk instructions in pieces and with places to yield.
fn rewrite_body<'a>(
    body: &FunctionBody<'a>,
    n: usize,
    outline: &Outline,
    added: &mut Added,
) -> Result<Cow<'a, [u8]>, Refused> {
    let bytes = body.as_bytes();
    let start = body.range().start;
    let mut out = Vec::new();
    // Everything before it is written, but for the declarations of locals.
    let mut operators = body.get_operators_reader()?;
    let mut done = operators.original_position() - start;
    let mut straight = 0;
    let mut shape = Shape::default();
    let mut length = None;
    let mut before = None;
    while !operators.eof() {
        let at = operators.original_position() - start;
        let operator = operators.read()?;
        shape.add(&operator)?;
        straight = if matches!(operator, Operator::Loop { .. }) {
            0
        } else {
            straight + 1
        };
        if straight == STRAIGHT_MAX {
            straight = 0;
            out.extend_from_slice(&bytes[done..at]);
            InstructionSink::new(&mut out).loop_(BlockType::Empty).end();
            done = at;
        }
        let is_bounded = matches!(before, Some(Operator::I32Const { value }) if (0..=PIECE_BYTES).contains(&value));
        if let Some(bulk) = Bulk::of(&operator)
            && !is_bounded
            && !outline.is_short(bulk)
        {
            let length = match length {
                Some(length) => length,
                None => *length.insert(first_new_local(body, outline.params_of(n)?)?),
            };
            out.extend_from_slice(&bytes[done..at]);
            let mut code = InstructionSink::new(&mut out);
            code.local_tee(length)
                .i32_const(PIECE_BYTES)
                .i32_gt_u()
                .if_(BlockType::FunctionType(added.operands))
                .local_get(length)
                .call(added.function(Extra::Pieces(bulk))?)
                .else_()
                .local_get(length);
            bulk.emit(&mut code);
            code.end();
            done = operators.original_position() - start;
        }
        if let Operator::MemoryGrow { mem: memory } = operator {
            out.extend_from_slice(&bytes[done..at]);
            let grow = added.function(Extra::Touch(Touch::growth(memory, outline.start_pages)))?;
            InstructionSink::new(&mut out).call(grow);
            done = operators.original_position() - start;
        }
        before = Some(operator);
    }
    if out.is_empty() {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut whole = declarations(body, length.is_some())?;
    whole.extend_from_slice(&out);
    whole.extend_from_slice(&bytes[done..]);
    Ok(Cow::Owned(whole))
}

/// What of a function makes the compiler take long.
#[derive(Default)]
struct Shape {
    /// How many blocks are open.
    depth: usize,
    /// How many places its branch tables name.
    targets: usize,
}

impl Shape {
    fn add(&mut self, operator: &Operator<'_>) -> Result<(), Refused> {
        match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => self.depth += 1,
            // The last one ends the function; what else there is too much of, is not valid.
            Operator::End | Operator::Delegate { .. } => self.depth = self.depth.saturating_sub(1),
            Operator::BrTable { targets } => self.targets += targets.len() as usize,
            _ => return Ok(()),
        }
        within([
            (
                "has a function with blocks nested to a depth of",
                self.depth,
                BLOCK_DEPTH_MAX,
            ),
            (
                "has a function whose branch tables name places that number",
                self.targets,
                BRANCH_TARGETS_MAX,
            ),
        ])
    }
}

/// The number that a further local would have.
fn first_new_local(body: &FunctionBody<'_>, params: u32) -> Result<u32, Refused> {
    let mut number = params;
    for group in body.get_locals_reader()? {
        let (count, _) = group?;
        number = number
            .checked_add(count)
            .ok_or_else(|| Refused::Malformed("too many locals".into()))?;
    }
    Ok(number)
}

/// The declarations of locals, with one more `i32` if that `is_needed`.
fn declarations(body: &FunctionBody<'_>, is_needed: bool) -> Result<Vec<u8>, Refused> {
    let end = body.get_operators_reader()?.original_position() - body.range().start;
    let declared = &body.as_bytes()[..end];
    if !is_needed {
        return Ok(declared.to_vec());
    }
    let mut local = Vec::new();
    1_u32.encode(&mut local);
    ValType::I32.encode(&mut local);
    appended(declared, 1, &local)
}

/// The type of a function from this many `i32` to this many.
fn signature(params: u32, results: u32, types: &mut Vec<u8>) {
    /// How a function type begins.
    const FUNCTION: u8 = 0x60;
    types.push(FUNCTION);
    for values in [params, results] {
        values.encode(types);
        (0..values).for_each(|_| ValType::I32.encode(types));
    }
}

/// A counted list with items added at its end.
fn appended(list: &[u8], more: u32, items: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut reader = BinaryReader::new(list, 0);
    let items_before = reader.read_var_u32()?;
    let mut out = Vec::with_capacity(list.len() + items.len() + 4);
    items_before.saturating_add(more).encode(&mut out);
    out.extend_from_slice(&list[reader.current_position()..]);
    out.extend_from_slice(items);
    Ok(out)
}

fn is_debugging(custom: &[u8]) -> Result<bool, Refused> {
    Ok(BinaryReader::new(custom, 0).read_string()?.starts_with(".debug_"))
}

/// The section `name` with names for the added functions; `None` if it is another section, or names no functions.
fn name_functions(custom: &[u8], added: &Added) -> Result<Option<Vec<u8>>, Refused> {
    const FUNCTIONS: u8 = 1;
    let mut reader = BinaryReader::new(custom, 0);
    if reader.read_string()? != "name" {
        return Ok(None);
    }
    let mut out = custom[..reader.current_position()].to_vec();
    let mut is_named = false;
    while !reader.eof() {
        let kind = reader.read_u8()?;
        let bytes = reader.read_var_u32()? as usize;
        let contents = reader.read_bytes(bytes)?;
        out.push(kind);
        if kind == FUNCTIONS {
            let mut names = Vec::new();
            for (number, extra) in (added.first..).zip(&added.functions) {
                number.encode(&mut names);
                extra.name().encode(&mut names);
            }
            appended(contents, count(added.functions.len())?, &names)?.encode(&mut out);
            is_named = true;
        } else {
            contents.encode(&mut out);
        }
    }
    Ok(is_named.then_some(out))
}
