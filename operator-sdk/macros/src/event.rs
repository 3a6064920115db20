//! What `#[derive(Event)]` makes of a struct.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Type};

/// The types that have columns of their own.
const TYPED: [&str; 11] = [
    "bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "f32", "f64", "String",
];

/// A field of the struct.
struct Field {
    ident: syn::Ident,
    name: LitStr,
    ty: Type,
    /// Whether it has a column of its own type.
    is_typed: bool,
    /// Whether an event may lack it.
    is_optional: bool,
}

pub(crate) fn derive(item: TokenStream) -> Result<TokenStream, Error> {
    let item: DeriveInput = syn::parse2(item)?;
    if !item.generics.params.is_empty() {
        let message = "an event has no generic parameters: its fields become columns of known types";
        return Err(Error::new_spanned(&item.generics, message));
    }
    let Data::Struct(data) = &item.data else {
        let message = "`#[derive(Event)]` goes on a struct with named fields; other types that serde knows are events as they are";
        return Err(Error::new_spanned(&item.ident, message));
    };
    let Fields::Named(named) = &data.fields else {
        let message = "an event has named fields: `struct Reading { value: f64 }`";
        return Err(Error::new_spanned(&item.ident, message));
    };
    let fields = named.named.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(implement(&item.ident, &fields))
}

fn field(field: &syn::Field) -> Result<Field, Error> {
    let ident = field.ident.clone().expect("it is a named field");
    let mut name = LitStr::new(ident.to_string().trim_start_matches("r#"), ident.span());
    for attribute in field
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("event"))
    {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("`#[event(…)]` knows `name`: `#[event(name = \"/reading/value\")]`"));
            }
            name = meta.value()?.parse()?;
            Ok(())
        })?;
    }
    if name.value().is_empty() {
        return Err(Error::new_spanned(
            &name,
            "a field has a name, such as `value`, or a pointer, such as `/reading/value`",
        ));
    }
    let inner = optional(&field.ty);
    Ok(Field {
        is_typed: last_segment(inner.unwrap_or(&field.ty))
            .is_some_and(|segment| TYPED.iter().any(|typed| segment.ident == typed)),
        is_optional: inner.is_some(),
        ident,
        name,
        ty: field.ty.clone(),
    })
}

/// What an `Option` holds.
fn optional(ty: &Type) -> Option<&Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == "Option")?;
    let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inner) => Some(inner),
        _ => None,
    }
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    }
}

fn implement(ident: &syn::Ident, fields: &[Field]) -> TokenStream {
    let types: Vec<TokenStream> = fields
        .iter()
        .map(|Field { is_typed, ty, .. }| {
            if *is_typed {
                quote! { <#ty as FieldValue>::TYPE }
            } else {
                quote! { FieldType::Json }
            }
        })
        .collect();
    let names: Vec<&LitStr> = fields.iter().map(|field| &field.name).collect();
    let idents: Vec<&syn::Ident> = fields.iter().map(|field| &field.ident).collect();
    let optional: Vec<bool> = fields.iter().map(|field| field.is_optional).collect();
    let reads = fields
        .iter()
        .enumerate()
        .map(|(place, Field { is_typed, ty, name, .. })| {
            if *is_typed {
                quote! {
                    <#ty as FieldValue>::read(&columns[#place], index)
                        .map_err(|error| error.context(::core::format_args!("field `{}`", #name)))?
                }
            } else {
                quote! { AsJson::<#ty>::read(&columns[#place], index, #name)? }
            }
        });
    let writes = fields.iter().enumerate().map(|(place, Field { ident, is_typed, .. })| {
        if *is_typed {
            quote! { FieldValue::write(&self.#ident, &mut columns[#place], events)?; }
        } else {
            quote! { AsJson(&self.#ident).write(&mut columns[#place])?; }
        }
    });
    quote! {
        const _: () = {
            use ::dirigo_operator::columns::{FieldColumn, FieldType};
            use ::dirigo_operator::fields::{AsJson, FieldValue, OutputMode, Read, Record, Written};
            use ::dirigo_operator::{Decode, Encode, Encoded, Error, Field, Result};

            fn field(name: &str) -> Field {
                Field::new(name).expect("`#[derive(Event)]` has looked at the name")
            }

            impl Record for #ident {
                fn reads() -> ::std::vec::Vec<Read> {
                    ::std::vec![#(Read { is_optional: #optional, ..Read::required(field(#names), #types) }),*]
                }

                fn writes() -> ::std::vec::Vec<Written> {
                    ::std::vec![#(Written { field: field(#names), field_type: #types }),*]
                }

                fn types() -> ::std::vec::Vec<FieldType> {
                    ::std::vec![#(#types),*]
                }

                #[inline]
                fn read(columns: &[FieldColumn], index: usize) -> Result<Self> {
                    let _ = (columns, index);
                    ::core::result::Result::Ok(#ident { #(#idents: #reads),* })
                }

                #[inline]
                fn write(&self, columns: &mut [FieldColumn], events: usize) -> Result<()> {
                    let _ = (&columns, events);
                    #(#writes)*
                    ::core::result::Result::Ok(())
                }
            }

            impl Decode for #ident {
                type Decoded<'a> = #ident;

                const IS_RAW: bool = false;

                fn reads() -> ::std::vec::Vec<Read> {
                    <#ident as Record>::reads()
                }

                #[inline]
                fn decode(event: Encoded<'_>) -> Result<#ident> {
                    event.record()
                }
            }

            impl Encode for #ident {
                const MODE: OutputMode = OutputMode::Replace;

                fn writes() -> ::std::vec::Vec<Written> {
                    <#ident as Record>::writes()
                }

                fn types(&self) -> ::std::vec::Vec<FieldType> {
                    <#ident as Record>::types()
                }

                fn encode(&self, _: &mut ::std::vec::Vec<u8>) -> Result<()> {
                    ::core::result::Result::Err(Error::new("an output of fields has no encoding of its own"))
                }

                #[inline]
                fn write_fields(&self, columns: &mut [FieldColumn], events: usize) -> Result<()> {
                    Record::write(self, columns, events)
                }
            }
        };
    }
}
