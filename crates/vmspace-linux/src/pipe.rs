//! Pipes within the machine.
//!
//! Guarantee: what is written comes out once and in order; writes of at most 4 KiB are not mixed
//! with others. Pipes live under the kernel's lock, so nobody misses that a pipe has become
//! readable, writable or one-ended. All pipes together take at most [`MOST_PIPES`] times 64 KiB of
//! the host.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// Bytes in a pipe.
pub(crate) const CAPACITY: usize = 64 << 10;

/// PIPE_BUF: writes up to it are one piece.
pub(crate) const ATOMIC: usize = 4096;

/// Pipes that may exist at once.
pub(crate) const MOST_PIPES: usize = 1024;

/// A pipe's bytes and whether its ends live.
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    /// Bytes that have been taken out so far.
    taken: u64,
    reader: Weak<()>,
    writer: Weak<()>,
}

impl Pipe {
    /// An empty pipe with the tokens of its two ends: reader, writer.
    pub fn new() -> (Pipe, Arc<()>, Arc<()>) {
        let (reader, writer) = (Arc::new(()), Arc::new(()));
        let pipe = Pipe {
            bytes: VecDeque::new(),
            taken: 0,
            reader: Arc::downgrade(&reader),
            writer: Arc::downgrade(&writer),
        };
        (pipe, reader, writer)
    }

    pub fn has_readers(&self) -> bool {
        self.reader.strong_count() > 0
    }

    pub fn has_writers(&self) -> bool {
        self.writer.strong_count() > 0
    }

    /// Bytes that could be read.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that could be written.
    pub fn room(&self) -> usize {
        CAPACITY - self.bytes.len()
    }

    /// The first bytes, at most `length`, and the place that they begin at.
    pub fn look(&self, length: usize) -> (u64, Vec<u8>) {
        (self.taken, self.bytes.iter().take(length).copied().collect())
    }

    /// Takes out bytes that were looked at; not if others have taken some since.
    pub fn take(&mut self, from: u64, length: usize) -> bool {
        let there = from == self.taken;
        if there {
            self.bytes.drain(..length.min(self.bytes.len()));
            self.taken += length as u64;
        }
        there
    }

    /// Puts in what there is room for; a short write goes in whole or not at all.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        if bytes.len() <= ATOMIC && room < bytes.len() {
            return 0;
        }
        let length = bytes.len().min(room);
        self.bytes.extend(&bytes[..length]);
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_writes_are_one_piece_and_long_ones_fill() {
        let (mut pipe, reader, writer) = Pipe::new();
        assert_eq!(pipe.put(&[1; CAPACITY - 10]), CAPACITY - 10);
        assert_eq!(pipe.put(&[2; 11]), 0, "no room for all of a short write");
        assert_eq!(pipe.put(&[2; ATOMIC + 1]), 10);
        assert_eq!(pipe.room(), 0);
        let (from, bytes) = pipe.look(CAPACITY * 2);
        assert_eq!(bytes.len(), CAPACITY);
        assert!(pipe.take(from, 10) && !pipe.take(from, 10), "others were faster");
        assert_eq!(pipe.len(), CAPACITY - 10);
        drop(writer);
        assert!(pipe.has_readers() && !pipe.has_writers());
        drop(reader);
        assert!(!pipe.has_readers());
    }
}
