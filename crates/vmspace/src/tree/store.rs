//! Stores: where a node's pieces lie when they are not inline, and how one is found.
//!
//! Guarantee: a store is as long as its header says for as long as the lock or guard lasts that it was
//! found under, and is reached as atomics alone: a reader without locks may see pieces of two states,
//! which the node's sequence tells, but never what is no piece.
//!
//! A block of memory: the first word is the retirement's, the second holds capacity and length, in
//! pieces; then come the pieces, three words each, ascending, with some room behind them.

use super::node::Node;
use crate::addr::PageRange;
use crate::format::Geometry;
use crate::platform::Platform;
use crate::region::{PIECE_WORDS, Piece};
use crate::sync::{AtomicU64, Ordering};
use crate::vm::Vm;

/// Words before the first piece of a store.
const HEADER_WORDS: usize = 2;

/// The smallest store: 128 bytes, four pieces.
pub(super) const LEAST_LOG2: u32 = 7;

/// Up to so many pieces are searched one by one.
const FEW: usize = 8;

/// How many pieces a store of `1 << log2` bytes holds.
pub(super) const fn capacity(log2: u32) -> usize {
    ((1 << log2) / size_of::<u64>() - HEADER_WORDS) / PIECE_WORDS
}

/// log2 of the bytes of the store that holds `capacity` pieces.
pub(super) const fn log2_bytes(capacity: usize) -> u32 {
    ((HEADER_WORDS + capacity * PIECE_WORDS) * size_of::<u64>()).next_power_of_two().ilog2()
}

/// A store, reached under the node's lock or a guard.
#[derive(Clone, Copy)]
pub(super) struct Store<'a> {
    pub address: u64,
    pub len: usize,
    header: &'a AtomicU64,
    /// As many as there is room for.
    pub pieces: &'a [[AtomicU64; PIECE_WORDS]],
}

impl<'a> Store<'a> {
    /// The store at `address`, which is where `base` points, with room for `capacity` pieces.
    ///
    /// # Safety
    /// The block there is that long, for as long as the store is used, and reached as atomics alone.
    #[inline]
    unsafe fn of(address: u64, base: *const AtomicU64, capacity: usize, len: usize) -> Store<'a> {
        // SAFETY: by the contract both parts lie in the block.
        let (header, pieces) = unsafe {
            let pieces = base.add(HEADER_WORDS).cast();
            (&*base.add(1), core::slice::from_raw_parts(pieces, capacity))
        };
        Store { address, len, header, pieces }
    }

    /// Gives the block back when readers have left.
    pub fn retire<P: Platform>(&self, vm: &Vm<P>) {
        vm.retire_block(self.address, log2_bytes(self.pieces.len()));
    }

    /// The piece at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Piece {
        let words = &self.pieces[index];
        Piece::decode(core::array::from_fn(|w| words[w].load(Ordering::Relaxed)))
    }

    /// Where the piece at `index` starts.
    #[inline]
    pub fn start(&self, index: usize) -> u64 {
        Piece::start_of(self.pieces[index][0].load(Ordering::Relaxed))
    }

    /// Makes the piece at `index` this one.
    #[inline]
    pub fn set(&self, index: usize, piece: Piece) {
        for (word, new) in self.pieces[index].iter().zip(piece.encode()) {
            word.store(new, Ordering::Relaxed);
        }
    }

    /// Says how many pieces there are.
    pub fn set_len(&mut self, len: usize) {
        self.len = len;
        self.header.store((self.pieces.len() as u64) << 32 | len as u64, Ordering::Relaxed);
    }

    /// Moves the pieces from `from` on to `to`.
    #[inline]
    pub fn shift(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let count = self.len - from;
        // As slices, since most of an edit among many pieces is spent here.
        let pairs = self.pieces[from..from + count].iter().zip(&self.pieces[to..to + count]);
        let copy = |(old, new): (&[AtomicU64; PIECE_WORDS], &[AtomicU64; PIECE_WORDS])| {
            for (old, new) in old.iter().zip(new) {
                new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        };
        if to > from {
            pairs.rev().for_each(copy)
        } else {
            pairs.for_each(copy)
        }
        self.set_len(self.len + to - from);
    }
}

/// The pieces that a range replaces.
pub(super) struct Splice {
    /// The piece that the range begins in.
    pub first: usize,
    /// The first piece that begins in the range.
    pub low: usize,
    /// One past the last piece that the range meets.
    pub high: usize,
    /// Where that one ends.
    pub end: u64,
}

impl<'a, P: Platform> Node<'a, P> {
    /// The store that a layout's word names.
    pub(super) fn store(&self, word: u64) -> Store<'a> {
        let base = self.vm.pointer_at(word);
        // SAFETY: the block at this address is as long as its header says, for as long as the lock
        // or guard that it was found under lasts; it is reached as atomics alone.
        unsafe {
            let header = (*base.add(1)).load(Ordering::Relaxed);
            Store::of(word, base, (header >> 32) as usize, header as u32 as usize)
        }
    }

    /// A store of `1 << log2` bytes without pieces. None: no memory.
    pub(super) fn make_store(&self, log2: u32) -> Option<Store<'a>> {
        let address = self.vm.take_block(log2)?;
        // SAFETY: the block was just taken: nobody else can reach it.
        Some(unsafe { Store::of(address, self.vm.pointer_at(address), capacity(log2), 0) })
    }

    /// The last piece that starts at or before `page`.
    #[inline]
    pub(super) fn find(&self, store: &Store<'_>, page: u64) -> usize {
        if store.len > FEW {
            return self.find_among_many(store, page);
        }
        let starts_by = |piece: &&[AtomicU64; PIECE_WORDS]| {
            Piece::start_of(piece[0].load(Ordering::Relaxed)) <= page
        };
        store.pieces[..store.len].iter().skip(1).take_while(starts_by).count()
    }

    /// The same, from where it would be if all pieces were of one size, in steps that double, and
    /// then by halves. Few cache lines are touched, which is what a search costs.
    #[inline(never)]
    fn find_among_many(&self, store: &Store<'_>, page: u64) -> usize {
        let last = store.len - 1;
        let within = page.wrapping_sub(self.range().start).wrapping_mul(store.len as u64);
        let guess = (within >> P::Format::slot_shift(self.level + 1)) as usize;
        let (mut low, mut step) = (guess.min(last), 1);
        let mut high = low + 1;
        while low > 0 && store.start(low) > page {
            (low, high, step) = (low.saturating_sub(step), low, 2 * step);
        }
        while high <= last && store.start(high) <= page {
            (low, high, step) = (high, (high + step).min(last + 1), 2 * step);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if store.start(middle) <= page { low = middle } else { high = middle }
        }
        low
    }

    /// The pieces that `part`, inside the node, replaces.
    #[inline(always)]
    pub(super) fn splice(&self, store: &Store<'_>, part: PageRange) -> Splice {
        let first = self.find(store, part.start);
        let low = first + usize::from(store.start(first) < part.start);
        let mut high = first + 1;
        if high < store.len && store.start(high) < part.end {
            high = self.find(store, part.end - 1) + 1;
        }
        let end = if high < store.len { store.start(high) } else { self.range().end };
        Splice { first, low, high, end }
    }
}
