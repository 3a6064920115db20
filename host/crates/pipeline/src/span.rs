//! Where something stands: in the pipeline file, or in an override of the command line.
//!
//! Owns the texts of one load, so that a place can be shown. Does not know what is written there.

use std::ops::Range;

/// Which text a place is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The pipeline file.
    #[default]
    File,
    /// The override with this index.
    Override(usize),
}

/// A range of bytes in one of the texts. Ordered as a reader meets them: the file first, from top to bottom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub(super) origin: Origin,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// A place in the pipeline file.
    pub(super) fn in_file(span: Range<usize>) -> Self {
        Self {
            origin: Origin::File,
            start: span.start,
            end: span.end,
        }
    }

    pub(super) fn span(self) -> Range<usize> {
        self.start..self.end
    }
}

/// The texts of one load.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    /// The name of the pipeline file, as it was given.
    pub(super) file: String,
    /// What the file holds.
    pub(super) text: String,
    /// The overrides as they were given.
    pub(super) overrides: Vec<String>,
}

impl Texts {
    /// The line and the column in characters of a byte of the file, both from 1.
    pub(super) fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(byte)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            1 + before.matches('\n').count(),
            1 + before[line_start..].chars().count(),
        )
    }
}
