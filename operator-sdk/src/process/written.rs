//! What a process puts out in a call, to one of its outputs.

use crate::{
    Result,
    codec::Encode,
    columns::{Column, Outputs, Writing},
};

/// What was put out.
pub(super) struct Written {
    origins: Vec<u32>,
    times: Vec<i64>,
    keys: Column,
    /// Whether a key is another than that of its step.
    has_keys: bool,
    writing: Writing,
}

/// What an output has of the step that it comes from.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) number: u32,
    pub(super) key: &'a [u8],
    pub(super) time: i64,
}

impl Written {
    /// Nothing yet of this type, with room for so many.
    pub(super) fn of<T: Encode + ?Sized>(items: usize) -> Self {
        Self {
            origins: Vec::new(),
            times: Vec::new(),
            keys: Column::default(),
            has_keys: false,
            writing: Writing::of::<T>(items, 0),
        }
    }

    /// Appends a value, with the key of its step unless it has another.
    pub(super) fn push<T: Encode + ?Sized>(&mut self, value: &T, key: Option<&[u8]>, step: Step<'_>) -> Result<()> {
        self.writing.push(value)?;
        self.has_keys |= key.is_some();
        self.keys.push(key.unwrap_or(step.key));
        self.origins.push(step.number);
        self.times.push(step.time);
        Ok(())
    }

    /// As the contract has it, with the time of each.
    pub(super) fn finish(self) -> (Outputs, Vec<i64>) {
        let (fields, values) = self.writing.finish();
        let outputs = Outputs {
            origins: self.origins,
            keys: self.has_keys.then_some(self.keys),
            fields,
            values,
            failures: Vec::new(),
        };
        (outputs, self.times)
    }
}
