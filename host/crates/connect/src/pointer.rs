//! Where something is in a JSON value.

/// A parsed RFC 6901 JSON pointer, such as `/sensor/id`; a bare column name for csv is the pointer to that field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// As written.
    pub text: String,
    /// The unescaped reference tokens, at least one.
    pub tokens: Vec<String>,
}
