//! A medium for tests that delivers what it is told to, piece by piece.

use std::collections::VecDeque;
use std::io::{self, Read};

/// Delivers one chunk per read, then the end. Panics when it is read past a [`wall`](Self::wall): a pipe would block.
#[derive(Debug)]
pub(crate) struct Script {
    chunks: VecDeque<io::Result<Vec<u8>>>,
    has_wall: bool,
}

impl Script {
    pub(crate) fn new<C: AsRef<[u8]>>(chunks: impl IntoIterator<Item = C>) -> Self {
        Self {
            chunks: chunks.into_iter().map(|chunk| Ok(chunk.as_ref().to_vec())).collect(),
            has_wall: false,
        }
    }

    /// Nothing comes after the last chunk, not even the end.
    pub(crate) fn wall(mut self) -> Self {
        self.has_wall = true;
        self
    }

    /// An error comes after the last chunk.
    pub(crate) fn failing(mut self, message: &str) -> Self {
        self.chunks.push_back(Err(io::Error::other(message.to_owned())));
        self
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(chunk) = self.chunks.pop_front() else {
            assert!(!self.has_wall, "a read that would block, with events in hand");
            return Ok(0);
        };
        let mut chunk = chunk?;
        let count = chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&chunk[..count]);
        if count < chunk.len() {
            self.chunks.push_front(Ok(chunk.split_off(count)));
        }
        Ok(count)
    }
}
