//! The `#[operator]` attribute. Operators get it from the prelude of `dirigo-operator`.
//!
//! It owns no logic: it checks the shape of the `impl`, says what to write where the shape is wrong, and hands type and
//! kind to a macro of `dirigo-operator`.

mod event;
mod shape;

use proc_macro::TokenStream;
use quote::quote;

use crate::shape::{Refusal, Shape};

/// Makes the operator of a crate: goes on the `impl` of `Map`, `FlatMap`, `Filter`, `Reduce` or `Process` for a type.
///
/// The `impl` stays as it is. In a build for WebAssembly the crate also exports the operator as a component; a crate
/// holds one operator.
#[proc_macro_attribute]
pub fn operator(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match shape::parse(arguments.into(), item.clone().into()) {
        Ok(shape) => {
            let exports = exports(&shape);
            [item, exports.into()].into_iter().collect()
        }
        // The item stays, or every mention of it would be an error of its own.
        Err(Refusal::Misplaced(error)) => [error.into_compile_error().into(), item].into_iter().collect(),
        // The `impl` goes: rustc would say the same again, at length.
        Err(Refusal::Incomplete(error)) => error.into_compile_error().into(),
    }
}

/// Makes the fields of a struct columns: of an event that an operator reads, or of an output that it writes.
///
/// Numbers, truth values and `String`s have columns of their own types, `Option`s of them may be missing or `null`, and any other
/// type that serde knows travels as the text of its JSON. A field is named as in Rust; `#[event(name = "…")]` gives it another name, or a
/// JSON pointer.
///
/// An output of the struct replaces the event, an `Extend` of it sets its fields in the event. The struct is not `Deserialize` or
/// `Serialize` at the same time: those would make it an event that is parsed as a whole.
#[proc_macro_derive(Event, attributes(event))]
pub fn event(item: TokenStream) -> TokenStream {
    event::derive(item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn exports(Shape { operator, kind }: &Shape) -> proc_macro2::TokenStream {
    quote! {
        impl ::dirigo_operator::Operator for #operator {
            fn open_json(config: &str) -> ::dirigo_operator::Result<Self> {
                ::dirigo_operator::open_with(config, <Self as ::dirigo_operator::#kind>::open)
            }

            fn schema(&self) -> ::dirigo_operator::Schema {
                <Self as ::dirigo_operator::#kind>::schema(self)
            }
        }

        // In a native build nobody opens the operator, but it is no dead code.
        const _: fn(&str) -> ::dirigo_operator::Result<#operator> =
            <#operator as ::dirigo_operator::Operator>::open_json;

        // A second operator in the crate defines it again, and rustc points at both attributes.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! a_crate_holds_one_operator {
            () => {};
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::dirigo_operator::__export!(#kind, #operator);
        };
    }
}
