//! Staging of large results of guests.
//!
//! Wasmtime copies what a call returns in one go, into memory of the host. Where that is new, each 4 KiB of it are a page fault:
//! 2 MiB keep a worker for 0.7 ms and more, and nobody can run meanwhile. So large lists are first copied to memory that is
//! resident, a staging buffer, and from there piece by piece, by a turn that lets others run on the way.
//!
//! Owns the buffers. Does not know how lists are lifted, nor what they mean.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;

use wasmtime::Result;

use crate::cooperative::Yielder;
use dirigo_ground::sync::Mutex;

/// Results up to this size, in all their lists together, are copied at once: 64 pages. That is more than most batches take.
pub(crate) const AT_ONCE_BYTES_MAX: usize = 256 << 10;
/// Room for bytes, 4 MiB, for numbers, 1.5 MiB, and for integers and floats of fields, 1 MiB each, in one buffer: what a call may return that was handed 1 MiB, as turns are at
/// most, unless they are handed as much state besides. What does not fit is copied at once.
pub(crate) const BYTES_MAX: usize = 4 << 20;
const NUMBERS_MAX: usize = (3 << 19) / size_of::<u32>();
const FIELD_NUMBERS_MAX: usize = (1 << 20) / size_of::<u64>();
/// How many buffers there are at most: as many turns can be in the middle of copying out of one. Where there is none left,
/// results are copied at once, so that no more of them are held than that.
const BUFFERS_MAX: usize = 16;
/// How much is copied between two looks at the clock: four pages.
const PIECE_BYTES: usize = 16 << 10;

/// Shared by all hosts of a process: they are memory, and nothing else.
static BUFFERS: Mutex<Buffers> = Mutex::new(Buffers {
    free: Vec::new(),
    made: 0,
});

thread_local! {
    static LIFTED: Lifted = const { Lifted::nothing() };
    /// Apart from [`LIFTED`], which needs no destructor and is looked at by every call.
    static BUFFER: RefCell<Option<Buffer>> = const { RefCell::new(None) };
}

struct Buffers {
    free: Vec<Buffer>,
    made: usize,
}

/// Sees to it that so many turns, or `BUFFERS_MAX`, find a resident buffer for what they return. Takes some milliseconds.
pub fn prepare_buffers(buffers: usize) {
    while let Some(mut buffer) = Buffer::made_up_to(buffers) {
        // Whatever is not zero: zeros need not be written.
        buffer.bytes.resize(BYTES_MAX, 1);
        buffer.numbers.resize(NUMBERS_MAX, 1);
        buffer.integers.resize(FIELD_NUMBERS_MAX, 1);
        buffer.floats.resize(FIELD_NUMBERS_MAX, 1.0);
    }
}

/// Memory for large results. Goes back to the others when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) numbers: Vec<u32>,
    pub(crate) integers: Vec<i64>,
    pub(crate) floats: Vec<f64>,
}

impl Buffer {
    /// A new one, while there are fewer than so many.
    fn made_up_to(buffers: usize) -> Option<Self> {
        let mut all = BUFFERS.lock();
        if all.made >= buffers.min(BUFFERS_MAX) {
            return None;
        }
        all.made += 1;
        drop(all);
        Some(Self {
            bytes: Vec::with_capacity(BYTES_MAX),
            numbers: Vec::with_capacity(NUMBERS_MAX),
            integers: Vec::with_capacity(FIELD_NUMBERS_MAX),
            floats: Vec::with_capacity(FIELD_NUMBERS_MAX),
        })
    }

    /// One that is free, or a new one, which is not resident.
    fn find() -> Option<Self> {
        let free = BUFFERS.lock().free.pop();
        free.or_else(|| Self::made_up_to(BUFFERS_MAX))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes.clear();
        self.numbers.clear();
        self.integers.clear();
        self.floats.clear();
        let buffer = Self {
            bytes: std::mem::take(&mut self.bytes),
            numbers: std::mem::take(&mut self.numbers),
            integers: std::mem::take(&mut self.integers),
            floats: std::mem::take(&mut self.floats),
        };
        BUFFERS.lock().free.push(buffer);
    }
}

/// What was lifted so far of the results of the call under way on this thread.
struct Lifted {
    /// How many items the call was handed.
    items: Cell<usize>,
    at_once_bytes: Cell<usize>,
    is_staged: Cell<bool>,
}

impl Lifted {
    const fn nothing() -> Self {
        Self {
            items: Cell::new(0),
            at_once_bytes: Cell::new(0),
            is_staged: Cell::new(false),
        }
    }
}

/// How many items the call was handed whose results are being lifted.
pub(crate) fn handed_items() -> usize {
    LIFTED.with(|lifted| lifted.items.get())
}

/// Whether so many bytes more of the results that are being lifted may be copied at once.
pub(crate) fn are_few(bytes: usize) -> bool {
    LIFTED.with(|lifted| lifted.at_once_bytes.get() + bytes <= AT_ONCE_BYTES_MAX)
}

/// Notes that so many bytes of them are.
pub(crate) fn note_at_once(bytes: usize) {
    LIFTED.with(|lifted| lifted.at_once_bytes.update(|all| all + bytes));
}

/// Has `stage` put a list into the buffer of the call whose results are being lifted; `None` where there is no buffer left.
pub(crate) fn with_buffer<T>(stage: impl FnOnce(&mut Buffer) -> Option<T>) -> Option<T> {
    BUFFER.with_borrow_mut(|buffer| {
        if !LIFTED.with(|lifted| lifted.is_staged.replace(true)) {
            *buffer = Buffer::find();
        }
        buffer.as_mut().and_then(stage)
    })
}

/// Runs a call that was handed so many items, and whose results may be large. Gives what it returned, and the buffer that has
/// the large lists of it.
pub(crate) async fn of<T>(items: usize, call: impl Future<Output = Result<T>>) -> Result<(T, Option<Buffer>)> {
    let mut call = pin!(call);
    let mut buffer = None;
    // What the guest does when its results are lifted may yield, and others lift on this thread before it goes on.
    let returned = poll_fn(|context| {
        LIFTED.with(|lifted| {
            lifted.items.set(items);
            lifted.at_once_bytes.set(0);
            lifted.is_staged.set(false);
        });
        let polled = call.as_mut().poll(context);
        if LIFTED.with(|lifted| lifted.is_staged.get()) {
            buffer = buffer.take().or_else(|| BUFFER.take());
        }
        polled
    })
    .await?;
    Ok((returned, buffer))
}

/// A result that may have lists in a buffer.
pub(crate) trait Staged {
    /// Copies those out of it, while others run.
    fn unstage(&mut self, from: &mut Unstaging) -> impl Future<Output = ()> + Send;
}

/// A buffer whose lists are being copied out of it.
pub(crate) struct Unstaging {
    buffer: Buffer,
    yielder: Yielder,
}

impl Unstaging {
    pub(crate) fn new(buffer: Buffer, yielder: Yielder) -> Self {
        Self { buffer, yielder }
    }

    /// Copies a list.
    pub(crate) async fn copy<T: Clone>(&mut self, list: impl FnOnce(&mut Buffer) -> &[T]) -> Vec<T> {
        let staged = list(&mut self.buffer);
        let mut items = Vec::with_capacity(staged.len());
        for piece in staged.chunks(PIECE_BYTES / size_of::<T>()) {
            items.extend_from_slice(piece);
            self.yielder.yield_if_due().await;
        }
        items
    }
}

/// Held by tests that count buffers, or need one.
#[cfg(test)]
pub(crate) static ALONE: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_as_if_it_were_new() {
        let _alone = ALONE.lock();
        prepare_buffers(BUFFERS_MAX + 1);
        let mut buffers: Vec<_> = std::iter::from_fn(Buffer::find).collect();
        assert!(
            buffers.len() <= BUFFERS_MAX,
            "where there is none left, nothing is staged"
        );
        for buffer in &mut buffers {
            buffer.bytes.push(1);
            buffer.numbers.push(1);
            buffer.integers.push(1);
            buffer.floats.push(1.0);
        }
        drop(buffers);
        let buffer = std::iter::from_fn(Buffer::find).next().unwrap();
        assert!(buffer.bytes.is_empty() && buffer.numbers.is_empty());
        assert!(buffer.integers.is_empty() && buffer.floats.is_empty());
    }
}
