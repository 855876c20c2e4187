//! A node's layout: what each of its slots without a child is.
//!
//! Guarantee: the pieces cover the node's span, ascending, without gaps (a hole is a piece too);
//! where a slot has a child, the child's layout counts and this one's says nothing. A reader
//! without locks who takes layout and slots between two equal even readings of the node's sequence
//! has one state.
//!
//! The layout is one word of the metadata. *Inline*: one piece without an object, the common case.
//! Else the address of a *store*. Pieces are edited in place, by atomic words, while the sequence is
//! odd; only growing takes memory, and growing changes no content, so it is done, and may fail,
//! before anything changes. The old store is retired.

use super::node::Node;
use super::store::{LEAST_LOG2, Store, capacity, log2_bytes};
use crate::addr::PageRange;
use crate::object;
use crate::platform::Platform;
use crate::region::{Attributes, Key, Piece};
use crate::sync::Ordering;

/// The inline layout that is one hole.
pub(crate) const HOLE: u64 = 1;

/// The word of an inline layout.
pub(super) fn inline(key: Key) -> u64 {
    u64::from(key.attributes.bits()) << 1 | 1
}

/// What an inline layout says.
pub(super) fn inline_key(word: u64) -> Key {
    Key::anonymous(Attributes::from_bits_retain((word >> 1) as u32))
}

impl<'a, P: Platform> Node<'a, P> {
    /// The piece that `page` lies in, and where it ends. A reader without locks must see the
    /// node's sequence hold before it believes the answer.
    #[inline(always)]
    pub fn piece(&self, page: u64) -> (Piece, u64) {
        let range = self.range();
        let word = self.meta.word.load(Ordering::Acquire);
        if word & 1 != 0 {
            return (Piece { start: range.start, key: inline_key(word), weight: 0 }, range.end);
        }
        let store = self.store(word);
        let index = self.find(&store, page);
        let end = if index + 1 < store.len { store.start(index + 1) } else { range.end };
        (store.get(index), end)
    }

    /// Whether the pieces follow one another and leave nothing out.
    pub fn has_whole_layout(&self) -> bool {
        let range = self.range();
        let mut page = range.start;
        while page < range.end {
            let (piece, end) = self.piece(page);
            if piece.start != page || end <= page || end > range.end {
                return false;
            }
            page = end;
        }
        true
    }

    /// The piece that `page` lies in, and the one that follows it in this node, if any does. As
    /// `piece` otherwise.
    pub fn piece_and_next(&self, page: u64) -> (Piece, Option<Piece>) {
        let word = self.meta.word.load(Ordering::Acquire);
        if word & 1 != 0 {
            let start = self.range().start;
            return (Piece { start, key: inline_key(word), weight: 0 }, None);
        }
        let store = self.store(word);
        let index = self.find(&store, page);
        (store.get(index), (index + 1 < store.len).then(|| store.get(index + 1)))
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 != 0 { 1 } else { self.store(word).len }
    }

    /// Makes room for an edit of `range`: to one piece with this key, or (`None`) to other rights.
    /// Changes no content. The lock is held. None: no memory.
    #[inline(always)]
    pub fn grow(&self, range: PageRange, key: Option<Key>) -> Option<()> {
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 == 0 {
            let store = self.store(word);
            if store.len + 2 <= store.pieces.len() {
                Some(())
            } else {
                self.widen(store, range, key)
            }
        } else if key == Some(inline_key(word)) {
            Some(())
        } else if key.is_some_and(|key| key.object != 0) || !range.contains(self.range()) {
            self.copy_store(self, LEAST_LOG2).map(|_| ())
        } else {
            Some(())
        }
    }

    /// `grow` for a store that may be too small.
    #[cold]
    fn widen(&self, old: Store<'a>, range: PageRange, key: Option<Key>) -> Option<()> {
        let splice = self.splice(&old, range.intersect(self.range()));
        let only = splice.low == splice.high;
        if only && key == Some(old.get(splice.first).key) {
            return Some(());
        }
        let is_new = |bound: &u64| {
            let inside = self.range().start < *bound && *bound < self.range().end;
            inside && old.start(self.find(&old, *bound)) != *bound
        };
        let bounds = [range.start, range.end].iter().filter(|bound| is_new(bound)).count();
        if old.len + bounds > old.pieces.len() {
            self.copy_store(self, log2_bytes(old.pieces.len()) + 1)?;
            // A reader may still be in the old one.
            old.retire(self.vm);
        }
        Some(())
    }

    /// Makes room for `more` pieces, however they come. Changes no content. The lock is held. None:
    /// no memory.
    pub fn make_room(&self, more: usize) -> Option<()> {
        let word = self.meta.word.load(Ordering::Relaxed);
        let old = (word & 1 == 0).then(|| self.store(word));
        let (len, mut log2) =
            old.map_or((1, LEAST_LOG2), |old| (old.len, log2_bytes(old.pieces.len())));
        if old.is_some() && len + more <= capacity(log2) {
            return Some(());
        }
        while len + more > capacity(log2) {
            log2 += 1;
        }
        self.copy_store(self, log2)?;
        if let Some(old) = old {
            // A reader may still be in the old one.
            old.retire(self.vm);
        }
        Some(())
    }

    /// Forgets what the layout says of slot `index`, which has a child, or gets one in this window:
    /// pieces with objects that lie only in slots with children go. The sequence is odd, or the
    /// node is private.
    pub fn forget_slot(&self, index: usize, dropped: &mut object::Dropped) {
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 != 0 {
            return;
        }
        let range = self.slot_range(index);
        let store = self.store(word);
        let (first, last) = (self.find(&store, range.start), self.find(&store, range.end - 1));
        for i in (first..=last).rev() {
            let piece = store.get(i);
            let end = if i + 1 < store.len { store.start(i + 1) } else { self.range().end };
            let mut slots = self.slots(PageRange::new(piece.start, end));
            let is_bare = |slot| slot != index && self.child(slot).is_none();
            if piece.key.object == 0 || slots.any(is_bare) {
                continue;
            }
            dropped.put(self.vm, piece);
            store.set(i, Piece { key: Key::HOLE, weight: 0, ..piece });
        }
    }

    /// Whether a slot that `range` meets has no child.
    pub fn has_bare_slot(&self, range: PageRange) -> bool {
        self.slots(range).any(|index| self.child(index).is_none())
    }

    /// Makes every page of `range` what `piece` says; a piece with an object carries a share for
    /// this node. `grow` was called under this lock; the sequence is odd. Whether anything was
    /// mapped there before (slots with children not looked at).
    pub fn replace(&self, range: PageRange, piece: Piece, dropped: &mut object::Dropped) -> bool {
        let whole = self.range();
        let part = range.intersect(whole);
        let word = self.meta.word.load(Ordering::Relaxed);
        if word & 1 != 0 {
            // Without a store, `grow` saw that none is needed.
            self.meta.word.store(inline(piece.key), Ordering::Relaxed);
            return inline_key(word).is_mapped();
        }
        let mut store = self.store(word);
        let mut splice = self.splice(&store, part);
        let mut new = Piece { start: part.start, ..piece };
        let mut mapped = false;
        if splice.low > splice.first {
            let first = store.get(splice.first);
            mapped = first.key.is_mapped();
            if splice.high == splice.low && first.key == new.key {
                dropped.put(self.vm, new);
                return mapped;
            }
        }
        // What the first piece keeps on the left stays where it is; what the last keeps on the
        // right is a piece of its own now, with a share of its own: taken before any is given up,
        // since that may be the object's last.
        let mut right = (splice.end > part.end).then(|| {
            let last = store.get(splice.high - 1);
            let weight = object::new_weight(self.vm, last.key);
            Piece { start: part.end, weight, ..last }
        });
        for index in splice.low..splice.high {
            let gone = store.get(index);
            mapped |= gone.key.is_mapped();
            dropped.put(self.vm, gone);
        }
        if right.is_none() && splice.high < store.len {
            let next = store.get(splice.high);
            if next.key == new.key {
                new = dropped.unite(self.vm, new, next);
                splice.high += 1;
            }
        }
        if let Some(remainder) = right
            && remainder.key == new.key
        {
            new = dropped.unite(self.vm, new, remainder);
            right = None;
        }
        if let Some(before) = splice.low.checked_sub(1).map(|index| store.get(index))
            && before.key == new.key
        {
            splice.low -= 1;
            new = dropped.unite(self.vm, before, new);
        }
        let after = splice.low + 1 + usize::from(right.is_some());
        store.shift(splice.high, after);
        store.set(splice.low, new);
        if let Some(right) = right {
            store.set(splice.low + 1, right);
        }
        if self.child_count() != 0 {
            // What is left beside the range may lie only in slots with children now.
            for page in [part.start.wrapping_sub(1), part.start, part.end] {
                if whole.holds(page) && self.child(self.index(page)).is_some() {
                    self.forget_slot(self.index(page), dropped);
                }
            }
        }
        mapped
    }

    /// Gives every mapped page of `range` other attributes. As `replace` otherwise.
    pub fn change_attributes(
        &self,
        range: PageRange,
        change: impl Fn(Attributes) -> Attributes,
        dropped: &mut object::Dropped,
    ) {
        let part = range.intersect(self.range());
        let mut page = part.start;
        while page < part.end {
            let (piece, end) = self.piece(page);
            let next = end.min(part.end);
            let attributes = change(piece.key.attributes);
            if piece.key.is_mapped() && attributes != piece.key.attributes {
                let key = Key { attributes, ..piece.key };
                let weight = object::new_weight(self.vm, key);
                let changed = Piece { start: page, key, weight };
                self.replace(PageRange::new(page, next), changed, dropped);
            }
            page = next;
        }
    }
}
