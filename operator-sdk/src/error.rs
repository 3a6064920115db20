//! Why an event is rejected, or a configuration refused: a message for the person who reads it.

use std::fmt;

/// The reason to reject an event, or to refuse a configuration.
///
/// Every [`std::error::Error`] turns into one with `?`, its sources included. It is a message and nothing more: the
/// host writes it into the dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
}

/// What the functions of an operator return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Error {
        Error {
            message: message.into(),
        }
    }

    /// The same error, with what was being done in front of its message.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display) -> Error {
        Error {
            message: format!("{doing}: {}", self.message),
        }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_message(self) -> String {
        self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// Like `anyhow::Error` this type is no `std::error::Error` itself, or the two impls of `From` would overlap.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Error {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Error { message }
    }
}

/// Returns early with an [`Error`](crate::Error): rejects the event with a message, written as for `format!`.
///
/// ```
/// use dirigo_operator::prelude::*;
///
/// fn fahrenheit(celsius: f64) -> Result<f64> {
///     if celsius < -273.15 {
///         reject!("{celsius} °C is below absolute zero");
///     }
///     Ok(celsius * 1.8 + 32.0)
/// }
/// assert_eq!(fahrenheit(-300.0).unwrap_err().message(), "-300 °C is below absolute zero");
/// ```
#[macro_export]
macro_rules! reject {
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::new(::std::format!($($message)+)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Layer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_ref().map(|layer| &**layer as &dyn std::error::Error)
        }
    }

    #[test]
    fn an_error_tells_its_sources() {
        let error = Error::from(Layer(
            "outer",
            Some(Box::new(Layer("middle", Some(Box::new(Layer("inner", None)))))),
        ));
        assert_eq!(error.message(), "outer: middle: inner");
    }

    #[test]
    fn context_stands_in_front() {
        assert_eq!(
            Error::new("no such key").context("looking up `a`").message(),
            "looking up `a`: no such key"
        );
    }
}
