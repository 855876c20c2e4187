//! What a new node has of another's layout, and what an old one gives up.
//!
//! Guarantee: each piece with an object has a share of the object's count for every node that says it;
//! a copy that finds no memory has changed nothing.

use super::layout::{inline, inline_key};
use super::node::Node;
use super::store::{LEAST_LOG2, Store, capacity, log2_bytes};
use crate::object;
use crate::platform::Platform;
use crate::region::Piece;
use crate::sync::Ordering;

impl<'a, P: Platform> Node<'a, P> {
    /// The layout of a node that has moved `by` pages (wrapping): objects move with it. The
    /// sequence is odd.
    pub fn shift_layout(&self, by: u64) {
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 != 0 {
            return;
        }
        let store = self.store(word);
        for index in 0..store.len {
            let piece = store.get(index);
            store.set(index, piece.shifted(by));
        }
    }

    /// Gives `to`, which has no store, one of `1 << log2` bytes with this node's pieces.
    pub(super) fn copy_store(&self, to: &Node<'a, P>, log2: u32) -> Option<Store<'a>> {
        let mut store = self.make_store(log2)?;
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 != 0 {
            store.set(0, Piece { start: self.range().start, key: inline_key(word), weight: 0 });
            store.set_len(1);
        } else {
            let old = self.store(word);
            for index in 0..old.len {
                store.set(index, old.get(index));
            }
            store.set_len(old.len);
        }
        // Release: pairs with the Acquire in `piece`.
        to.meta.word.store(store.address, Ordering::Release);
        Some(store)
    }

    /// Gives a private node what a fork's child has of the layout, each object's count raised for
    /// it. None: no memory.
    pub fn copy_layout_to(&self, fresh: &Node<'a, P>) -> Option<()> {
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 != 0 {
            fresh.meta.word.store(inline(inline_key(word).inherited()), Ordering::Relaxed);
            return Some(());
        }
        let store = self.copy_store(fresh, log2_bytes(self.store(word).pieces.len()))?;
        for index in 0..store.len {
            let piece = store.get(index);
            let key = piece.key.inherited();
            store.set(index, Piece { key, weight: object::new_weight(self.vm, key), ..piece });
        }
        Some(())
    }

    /// Gives a private child of this node, which spans one of its slots, the part of the layout
    /// that the slot has. None: no memory; then nothing has changed.
    pub fn copy_part_to(&self, child: &Node<'a, P>) -> Option<()> {
        let range = child.range();
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 != 0 {
            child.meta.word.store(word, Ordering::Relaxed);
            return Some(());
        }
        let store = self.store(word);
        let (first, last) = (self.find(&store, range.start), self.find(&store, range.end - 1));
        let only = store.get(first);
        if first == last && only.key.object == 0 {
            child.meta.word.store(inline(only.key), Ordering::Relaxed);
            return Some(());
        }
        let mut log2 = LEAST_LOG2;
        while capacity(log2) < last - first + 1 {
            log2 += 1;
        }
        let mut part = self.make_store(log2)?;
        for index in first..=last {
            let piece = store.get(index);
            let start = piece.start.max(range.start);
            let weight = object::new_weight(self.vm, piece.key);
            part.set(index - first, Piece { start, weight, ..piece });
        }
        part.set_len(last - first + 1);
        child.meta.word.store(part.address, Ordering::Relaxed);
        Some(())
    }

    /// Gives up the layout of a node that was never attached.
    pub fn free_layout(&self) {
        let mut dropped = object::Dropped::new();
        self.drop_layout(&mut dropped);
        // What it was copied from has its own share of each object: nothing can have ended.
        debug_assert!(dropped.is_empty());
    }

    /// Retires the store and gives the objects' weights up.
    pub fn drop_layout(&self, dropped: &mut object::Dropped) {
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 == 0 {
            let store = self.store(word);
            for index in 0..store.len {
                dropped.put(self.vm, store.get(index));
            }
            store.retire(self.vm);
        }
    }
}
