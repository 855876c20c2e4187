//! A node's layout: what each of its slots without a child is.
//!
//! Guarantee: the pieces cover the node's span, ascending, without gaps (a hole is a piece too);
//! where a slot has a child, the child's layout counts and this one's says nothing. A reader
//! without locks who takes layout and slots between two equal even readings of the node's sequence
//! has one state.
//!
//! The layout is one word of the metadata. *Inline*: one piece without an object, the common case.
//! Else the address of a *store*: a block whose first word is the retirement's, whose second holds
//! length and capacity in pieces, and then three words a piece. Pieces are edited in place, by atomic words,
//! while the sequence is odd; only growing takes memory, and growing changes no content, so it is
//! done, and may fail, before anything changes. The old store is retired.

use super::node::Node;
use crate::addr::PageRange;
use crate::format::Geometry;
use crate::object;
use crate::platform::Platform;
use crate::region::{Attributes, Key, PIECE_WORDS, Piece};
use crate::sync::{AtomicU64, Ordering};
use crate::vm::Vm;

/// The inline layout that is one hole.
pub(crate) const HOLE: u64 = 1;

/// Words before the first piece of a store.
const HEADER_WORDS: usize = 2;

/// The smallest store: 128 bytes, four pieces.
const LEAST_LOG2: u32 = 7;

/// Up to so many pieces are searched one by one.
const FEW: usize = 8;

/// How many pieces a store of `1 << log2` bytes holds.
const fn capacity(log2: u32) -> usize {
    ((1 << log2) / size_of::<u64>() - HEADER_WORDS) / PIECE_WORDS
}

/// log2 of the bytes of the store that holds `capacity` pieces.
const fn log2_bytes(capacity: usize) -> u32 {
    ((HEADER_WORDS + capacity * PIECE_WORDS) * size_of::<u64>()).next_power_of_two().ilog2()
}

/// A store, reached under the node's lock or a guard.
#[derive(Clone, Copy)]
struct Store<'a> {
    address: u64,
    len: usize,
    header: &'a AtomicU64,
    /// As many as there is room for.
    pieces: &'a [[AtomicU64; PIECE_WORDS]],
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
    fn retire<P: Platform>(&self, vm: &Vm<P>) {
        vm.retire_block(self.address, log2_bytes(self.pieces.len()));
    }

    #[inline]
    fn get(&self, index: usize) -> Piece {
        let words = &self.pieces[index];
        Piece::decode(core::array::from_fn(|w| words[w].load(Ordering::Relaxed)))
    }

    #[inline]
    fn start(&self, index: usize) -> u64 {
        Piece::start_of(self.pieces[index][0].load(Ordering::Relaxed))
    }

    #[inline]
    fn set(&self, index: usize, piece: Piece) {
        for (word, new) in self.pieces[index].iter().zip(piece.encode()) {
            word.store(new, Ordering::Relaxed);
        }
    }

    fn set_len(&mut self, len: usize) {
        self.len = len;
        self.header.store((self.pieces.len() as u64) << 32 | len as u64, Ordering::Relaxed);
    }

    /// Moves the pieces from `from` on to `to`.
    #[inline]
    fn shift(&mut self, from: usize, to: usize) {
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
struct Splice {
    /// The piece that the range begins in.
    first: usize,
    /// The first piece that begins in the range.
    low: usize,
    /// One past the last piece that the range meets.
    high: usize,
    /// Where that one ends.
    end: u64,
}

fn inline(key: Key) -> u64 {
    u64::from(key.attributes.bits()) << 1 | 1
}

fn inline_key(word: u64) -> Key {
    Key::anonymous(Attributes::from_bits_retain((word >> 1) as u32))
}

impl<'a, P: Platform> Node<'a, P> {
    fn store(&self, word: u64) -> Store<'a> {
        let base = self.vm.pointer_at(word);
        // SAFETY: the block at this address is as long as its header says, for as long as the lock
        // or guard that it was found under lasts; it is reached as atomics alone.
        unsafe {
            let header = (*base.add(1)).load(Ordering::Relaxed);
            Store::of(word, base, (header >> 32) as usize, header as u32 as usize)
        }
    }

    /// A store of `1 << log2` bytes without pieces. None: no memory.
    fn make_store(&self, log2: u32) -> Option<Store<'a>> {
        let address = self.vm.take_block(log2)?;
        // SAFETY: the block was just taken: nobody else can reach it.
        Some(unsafe { Store::of(address, self.vm.pointer_at(address), capacity(log2), 0) })
    }

    /// The last piece that starts at or before `page`.
    #[inline]
    fn find(&self, store: &Store<'_>, page: u64) -> usize {
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
    fn splice(&self, store: &Store<'_>, part: PageRange) -> Splice {
        let first = self.find(store, part.start);
        let low = first + usize::from(store.start(first) < part.start);
        let mut high = first + 1;
        if high < store.len && store.start(high) < part.end {
            high = self.find(store, part.end - 1) + 1;
        }
        let end = if high < store.len { store.start(high) } else { self.range().end };
        Splice { first, low, high, end }
    }

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
    fn copy_store(&self, to: &Node<'a, P>, log2: u32) -> Option<Store<'a>> {
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
