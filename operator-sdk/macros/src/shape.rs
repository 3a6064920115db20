//! What an operator's `impl` looks like, and what to say where it doesn't.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::{Error, ImplItem, Item, ItemImpl, Path, Type, spanned::Spanned};

/// What the attribute needs to know of the `impl`.
pub(crate) struct Shape {
    pub(crate) operator: Type,
    /// The last part of the trait's path.
    pub(crate) kind: Ident,
}

/// Why there is no operator.
pub(crate) enum Refusal {
    /// The attribute stands where it means nothing.
    Misplaced(Error),
    /// The `impl` is one of an operator, but not all of it.
    Incomplete(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Misplaced(error)
    }
}

/// A kind of operator and what its `impl` has to define, in the order in which one writes it.
struct Kind {
    name: &'static str,
    types: &'static [(&'static str, &'static str)],
    functions: &'static [(&'static str, &'static str)],
}

const CONFIG: (&str, &str) = ("Config", "type Config = NoConfig;");
const EVENT: (&str, &str) = ("Event", "type Event = MyEvent;");
const OUTPUT: (&str, &str) = ("Output", "type Output = MyOutput;");
const OPEN: (&str, &str) = ("open", "fn open(config: Self::Config) -> Result<Self>");

const KINDS: [Kind; 5] = [
    Kind {
        name: "Map",
        types: &[CONFIG, EVENT, OUTPUT],
        functions: &[
            OPEN,
            ("map", "fn map(&mut self, event: &Self::Event) -> Result<Self::Output>"),
        ],
    },
    Kind {
        name: "FlatMap",
        types: &[CONFIG, EVENT, OUTPUT],
        functions: &[
            OPEN,
            (
                "flat_map",
                "fn flat_map(&mut self, event: &Self::Event, out: &mut Outputs<'_, Self::Output>) -> Result<()>",
            ),
        ],
    },
    Kind {
        name: "Filter",
        types: &[CONFIG, EVENT],
        functions: &[
            OPEN,
            ("keep", "fn keep(&mut self, event: &Self::Event) -> Result<bool>"),
        ],
    },
    Kind {
        name: "Reduce",
        types: &[
            CONFIG,
            EVENT,
            ("Accumulator", "type Accumulator = MyAccumulator;"),
            OUTPUT,
        ],
        functions: &[
            OPEN,
            ("zero", "fn zero(&self) -> Self::Accumulator"),
            (
                "add",
                "fn add(&mut self, accumulator: &mut Self::Accumulator, event: &Self::Event) -> Result<()>",
            ),
            (
                "merge",
                "fn merge(&mut self, left: Self::Accumulator, right: Self::Accumulator) -> Self::Accumulator",
            ),
            (
                "finish",
                "fn finish(&mut self, window: &Window<'_>, accumulator: Self::Accumulator) -> Result<Self::Output>",
            ),
        ],
    },
    Kind {
        name: "Process",
        types: &[CONFIG, EVENT, ("State", "type State = MyState;"), OUTPUT],
        functions: &[
            OPEN,
            (
                "event",
                "fn event(&mut self, event: &Self::Event, key: &mut Context<'_, Self>) -> Result<()>",
            ),
        ],
    },
];

const WHERE_IT_GOES: &str = "`#[operator]` goes on the `impl` of an operator: `impl Filter for MyOperator { … }`, or \
    `Map`, `FlatMap`, `Reduce`, `Process`";

pub(crate) fn parse(arguments: TokenStream, item: TokenStream) -> Result<Shape, Refusal> {
    if !arguments.is_empty() {
        let message = "`#[operator]` takes no arguments: the trait of the `impl` says it all";
        return Err(Error::new_spanned(arguments, message).into());
    }
    let item = match syn::parse2::<Item>(item)? {
        Item::Impl(item) => item,
        other => return Err(Error::new(start(&other), WHERE_IT_GOES).into()),
    };
    let (kind, path) = kind(&item)?;
    if !item.generics.params.is_empty() {
        let message = "an operator has no generic parameters: the host runs one component, so write the type out";
        return Err(Error::new_spanned(&item.generics, message).into());
    }
    refuse_undeclared_migration(&item, kind)?;
    let missing = missing(&item, kind);
    if !missing.is_empty() {
        let message = format!("this `{}` leaves out:\n{}", kind.name, missing.join("\n"));
        return Err(Refusal::Incomplete(Error::new_spanned(path, message)));
    }
    let name = Ident::new(kind.name, path.span());
    Ok(Shape {
        operator: *item.self_ty,
        kind: name,
    })
}

/// The first token of an item is enough to point at: the whole of it would hide the message.
fn start(item: &Item) -> Span {
    item.to_token_stream()
        .into_iter()
        .next()
        .map_or_else(Span::call_site, |token| token.span())
}

fn kind(item: &ItemImpl) -> Result<(&'static Kind, Path), Error> {
    let Some((negation, path, _)) = &item.trait_ else {
        return Err(Error::new_spanned(&item.self_ty, WHERE_IT_GOES));
    };
    let known = path
        .segments
        .last()
        .and_then(|last| KINDS.iter().find(|kind| last.ident == kind.name));
    match known {
        Some(kind) if negation.is_none() => Ok((kind, path.clone())),
        _ => {
            let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let written = names.join("::");
            let message = format!(
                "`{written}` is no kind of operator: there are `Map`, `FlatMap`, `Filter`, `Reduce` and `Process`"
            );
            Err(Error::new_spanned(path, message))
        }
    }
}

/// A migration of which the host does not know would never be called.
fn refuse_undeclared_migration(item: &ItemImpl, kind: &Kind) -> Result<(), Error> {
    let is_declared = item
        .items
        .iter()
        .any(|it| matches!(it, ImplItem::Const(it) if it.ident == "OLDEST_STATE_VERSION"));
    let migrate = item.items.iter().find_map(|it| match it {
        ImplItem::Fn(it) if it.sig.ident == "migrate" => Some(&it.sig.ident),
        _ => None,
    });
    match migrate {
        Some(migrate) if ["Reduce", "Process"].contains(&kind.name) && !is_declared => {
            let message = format!(
                "this `{}` migrates state, but doesn't say of which versions: add\n    const STATE_VERSION: u32 = 2;\n    \
                 const OLDEST_STATE_VERSION: u32 = 1;",
                kind.name
            );
            Err(Error::new_spanned(migrate, message))
        }
        _ => Ok(()),
    }
}

/// What the `impl` leaves out, as one would write it.
fn missing(item: &ItemImpl, kind: &Kind) -> Vec<String> {
    let has_type = |name: &str| {
        item.items
            .iter()
            .any(|it| matches!(it, ImplItem::Type(it) if it.ident == name))
    };
    let has_function = |name: &str| {
        item.items
            .iter()
            .any(|it| matches!(it, ImplItem::Fn(it) if it.sig.ident == name))
    };
    // What another macro expands to in here cannot be seen, so rustc has to judge it.
    if item.items.iter().any(|it| matches!(it, ImplItem::Macro(_))) {
        return Vec::new();
    }
    let types = kind.types.iter().filter(|(name, _)| !has_type(name));
    let functions = kind.functions.iter().filter(|(name, _)| !has_function(name));
    types.chain(functions).map(|(_, line)| format!("    {line}")).collect()
}
