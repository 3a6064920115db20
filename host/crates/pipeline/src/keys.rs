//! What a connector declares and checks its keys with.

pub use crate::choice::{Choice, Word};
pub use crate::diagnostic::{Diagnostic, Problems};
pub use crate::document::{KeyValue, Node};
pub use crate::entries::Entries;
pub use crate::section::{At, Field, NoKeys, Read, Section, read};
pub use crate::span::Span;
pub use crate::units::{Lapse, Moment, Rate, Size, Whole};
pub use crate::validate::{Validation, shown_size};
