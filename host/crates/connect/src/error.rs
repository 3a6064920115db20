//! Why a source or a sink failed.

use std::error::Error as StdError;

/// Why a source or a sink failed: the connector's own error, and whether it is worth another try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The same may succeed later: whatever is at the other end was busy, slow or away.
    #[error(transparent)]
    Retryable(Box<dyn StdError + Send + Sync>),
    /// The same fails again, until a person changes something.
    #[error(transparent)]
    Fatal(Box<dyn StdError + Send + Sync>),
    /// Nobody reads what a sink writes any more: a reason to stop, but no failure.
    #[error("the output was closed by its reader")]
    Closed,
}

impl Error {
    /// An error that may be gone later.
    pub fn retryable(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Retryable(reason.into())
    }

    /// An error that stays.
    pub fn fatal(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Fatal(reason.into())
    }

    /// An error that follows from one of the system, whose kind says whether it may be gone later.
    pub fn caused_by(kind: std::io::ErrorKind, reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        use std::io::ErrorKind as Kind;
        match kind {
            Kind::Interrupted
            | Kind::WouldBlock
            | Kind::TimedOut
            | Kind::ResourceBusy
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::StaleNetworkFileHandle => Self::retryable(reason),
            _ => Self::fatal(reason),
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Retryable(_))
    }

    /// The connector's own error, where it is a `T`.
    #[must_use]
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        match self {
            Self::Retryable(reason) | Self::Fatal(reason) => reason.downcast_ref(),
            Self::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot reach the broker")]
    struct Unreachable(#[source] io::Error);

    #[test]
    fn an_error_says_what_its_connector_says_and_why() {
        let kind = io::ErrorKind::TimedOut;
        let error = Error::caused_by(kind, Unreachable(kind.into()));
        assert_eq!(error.to_string(), "cannot reach the broker");
        assert_eq!(error.source().unwrap().to_string(), "timed out");
        assert!(error.is_retryable() && error.downcast_ref::<Unreachable>().is_some());
    }

    #[test]
    fn what_is_not_there_is_not_tried_again() {
        let error = Error::caused_by(io::ErrorKind::NotFound, "no such topic");
        assert!(!error.is_retryable());
        assert!(!Error::Closed.is_retryable());
    }
}
