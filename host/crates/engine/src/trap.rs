//! How a guest fails, as data.

use wasmtime::{Trap as Code, WasmBacktrace};

use crate::failure::{Failure, unmigrated};
use crate::guest::Guest;
use crate::wasi::Exit;

/// The end of a call that did not return what it should. The instance is gone; the host is unmoved.
#[derive(Clone, Debug)]
pub struct Trap {
    /// What kind of failure it was.
    pub cause: Cause,
    /// What happened, for the person who reads it.
    pub reason: String,
    /// The guest's stack, innermost call first.
    pub backtrace: Option<String>,
    /// The event of the batch that the guest says it was working on. A hint: nothing but the guest vouches for it.
    pub event: Option<u32>,
}

/// The kinds of failure, as the `kind` of a dead letter names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A panic, an instruction that traps, a stack overflow, an exit.
    Trap,
    /// It burnt more fuel than it may.
    Fuel,
    /// It failed after it was denied memory.
    Memory,
    /// What it returned breaks the contract.
    Malformed,
    /// It put out more than its tenant may.
    Output,
    /// What it keeps of a key is more than it may.
    State,
    /// Any of these, while it brought state of an older version to its own.
    Migrate,
}

impl Cause {
    /// As it is written in a dead letter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Trap => "trap",
            Cause::Fuel => "fuel",
            Cause::Memory => "memory",
            Cause::Malformed => "malformed",
            Cause::Output => "output",
            Cause::State => "state",
            Cause::Migrate => "migrate",
        }
    }
}

impl Trap {
    /// The trap that a failed call of `guest` counts as.
    pub(crate) fn of(failure: Failure, guest: &mut Guest) -> Self {
        match failure {
            Failure::Guest(error) => Self::of_guest(&error, guest),
            Failure::Invalid(invalid) => Self::without_stack(Cause::Malformed, invalid.to_string(), None),
            Failure::TooMuchState {
                bytes,
                bytes_max,
                event,
            } => {
                let reason = format!("the state of its key would have {bytes} bytes, and `state` allows {bytes_max}");
                Self::without_stack(Cause::State, reason, event)
            }
            Failure::TooMuchOutput { bytes_max } => {
                let reason = format!(
                    "its outputs, with the events that they extend, are more than the {bytes_max} bytes that are allowed"
                );
                Self::without_stack(Cause::Output, reason, None)
            }
            Failure::Migration { from, to, failure } => {
                let trap = Self::of(*failure, guest);
                Self {
                    cause: Cause::Migrate,
                    reason: unmigrated(from, to, &trap.reason),
                    ..trap
                }
            }
        }
    }

    fn of_guest(error: &wasmtime::Error, guest: &mut Guest) -> Self {
        guest.note_memory(error);
        let panic = guest.panic_message.take();
        let memory_denied = std::mem::take(&mut guest.memory_denied);
        let has_stack = error.downcast_ref::<WasmBacktrace>().is_some();
        let is_exit = error.downcast_ref::<Exit>().is_some();
        let cause = match error.downcast_ref::<Code>() {
            Some(Code::OutOfFuel) => Cause::Fuel,
            _ if memory_denied => Cause::Memory,
            // The guest returned: what it returned is outside its memory, no text, or more than a call may hand over.
            None if !has_stack && !is_exit => Cause::Malformed,
            _ => Cause::Trap,
        };
        let said = panic.as_ref().map(|panic| panic.message.clone());
        let reason = match cause {
            Cause::Fuel => "all fuel consumed".into(),
            Cause::Memory => format!(
                "out of memory: a growth past the `memory` of its limits or of its tenant was denied{}",
                said.map(|said| format!(" ({said})")).unwrap_or_default()
            ),
            Cause::Trap | Cause::Malformed | Cause::Output | Cause::State | Cause::Migrate => {
                said.unwrap_or_else(|| describe(error))
            }
        };
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
        Self {
            cause,
            reason,
            backtrace,
            event: panic.and_then(|panic| panic.event),
        }
    }

    /// The trap that outputs count as which a tenant's budget does not allow.
    #[must_use]
    pub fn too_much_output(reason: String, event: Option<u32>) -> Self {
        Self::without_stack(Cause::Output, reason, event)
    }

    fn without_stack(cause: Cause, reason: String, event: Option<u32>) -> Self {
        Self {
            cause,
            reason,
            backtrace: None,
            event,
        }
    }
}

fn describe(error: &wasmtime::Error) -> String {
    if let Some(code) = error.downcast_ref::<Code>() {
        return code.to_string();
    }
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return exit.to_string();
    }
    // The backtrace is context of the error and reported apart from it; what lies beneath says what happened.
    error.root_cause().to_string()
}
