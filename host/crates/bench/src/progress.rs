//! Which cell of the table is being measured, where standard error is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over cells.
pub(super) struct Cells(ProgressBar);

impl Cells {
    pub(super) fn new(count: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}").expect("the template is a constant");
        bar.set_style(style);
        Self(bar)
    }

    /// Says what is measured now.
    pub(super) fn enter(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
        self.0.tick();
    }

    /// It is done with.
    pub(super) fn leave(&self) {
        self.0.inc(1);
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
