//! Outputs of a process besides its own, each with a name and a type.

use std::{fmt, marker::PhantomData};

use crate::{
    codec::Encode,
    fields::{OutputMode, Written},
    process::Process,
};

/// The longest name, as of operators in a pipeline file.
const NAME_BYTES_MAX: usize = 64;

/// An output that a [`Process`](crate::Process) has besides its own. A pipeline file reads it as `ID.NAME`, behind the id of the operator.
///
/// It is a constant, and stands among the [`OUTPUTS`](crate::Process::OUTPUTS) of its operator.
///
/// ```
/// use dirigo_operator::prelude::*;
///
/// #[derive(Event)]
/// struct Reading { celsius: f64 }
///
/// #[derive(Event)]
/// struct Alert { limit: f64 }
///
/// const TOO_HOT: NamedOutput<Alert> = NamedOutput::new("too-hot");
///
/// struct Classify;
///
/// #[operator]
/// impl Process for Classify {
///     const OUTPUTS: &'static [&'static dyn DeclaredOutput] = &[&TOO_HOT];
///     type Config = NoConfig;
///     type Event = Reading;
///     type State = ();
///     type Output = Reading;
///
///     fn open(_: NoConfig) -> Result<Self> {
///         Ok(Classify)
///     }
///
///     fn event(&mut self, reading: &Reading, key: &mut Context<'_, Self>) -> Result<()> {
///         if reading.celsius > 90.0 {
///             key.push_to(TOO_HOT, &Alert { limit: 90.0 })?;
///         }
///         key.push(reading)
///     }
/// }
/// # fn main() {}
/// ```
pub struct NamedOutput<T: ?Sized> {
    name: &'static str,
    of: PhantomData<fn(&T)>,
}

/// A [`NamedOutput`] among the [`OUTPUTS`](crate::Process::OUTPUTS) of an operator.
pub trait DeclaredOutput {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The fields that it writes; `None` where its values are in an encoding of their own.
    fn writes(&self) -> Option<Vec<Written>>;
}

impl<T: Encode + ?Sized> NamedOutput<T> {
    /// An output of this name: a letter, then letters, digits, `-` and `_`, 64 at most together. It is unlike those of the other outputs of the
    /// operator, and not `late`.
    ///
    /// # Panics
    /// When the name is none of that, or the output would [extend](crate::Extend) an event: a timer has none.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(
            !bytes.is_empty() && bytes.len() <= NAME_BYTES_MAX && bytes[0].is_ascii_alphabetic(),
            "the name of an output is a letter, then letters, digits, `-` and `_`, 64 at most together"
        );
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'_'),
                "the name of an output has letters, digits, `-` and `_`"
            );
            at += 1;
        }
        assert!(
            !matches!(bytes, b"late"),
            "`late` is the name of what comes too late for an operator"
        );
        assert!(
            !matches!(T::MODE, OutputMode::Extend),
            "a process has timers, which have no event that outputs could extend"
        );
        Self { name, of: PhantomData }
    }
}

impl<T: ?Sized> Clone for NamedOutput<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for NamedOutput<T> {}

impl<T: ?Sized> fmt::Debug for NamedOutput<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("NamedOutput").field(&self.name).finish()
    }
}

impl<T: Encode + ?Sized> DeclaredOutput for NamedOutput<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn writes(&self) -> Option<Vec<Written>> {
        (T::MODE == OutputMode::Replace).then(T::writes)
    }
}

/// The place of an output among those of an operator.
///
/// # Panics
/// When it does not stand there: the host would not know it.
pub(crate) fn place_of<O: Process>(output: &dyn DeclaredOutput) -> usize {
    let name = output.name();
    let place = O::OUTPUTS.iter().position(|output| output.name() == name);
    place.unwrap_or_else(|| panic!("`{name}` does not stand among the `OUTPUTS` of the operator"))
}
