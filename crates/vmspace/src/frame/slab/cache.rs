//! A CPU's cache for one class: frames with room, under a lock that is only ever tried.
//!
//! Guarantee: a frame that a cache owns is on its list exactly if it has a free object; a frame's
//! count is the number of its objects that are on no free list (those on the deferred stack are
//! still counted).
//!
//! Protocol: the lock guards the list, the frames' metadata (`pins`, `word`: free list, `link` and
//! `base`: neighbours on the list) and the links of free objects. `owner` is set before the first
//! object leaves, and stays. The deferred stack is pushed by compare-exchange and only ever
//! taken whole, by a swap, so no address on it can be mistaken for an earlier life of the same.

use super::{CLASSES, FrameSource, SMALLEST};
use crate::addr::Frame;
use crate::frame::meta::{Kind, Meta};
use crate::sync::{AtomicU64, Ordering};

/// Words in a cache line.
pub(super) const LINE: usize = 8;
/// A cache's words.
pub(super) type Line = [AtomicU64; LINE];

/// 1 while somebody holds the cache.
const LOCK: usize = 0;
/// The first frame with room.
const HEAD: usize = 1;
/// The first deferred object.
const DEFERRED: usize = 2;
/// Objects allocated less objects freed, with the lock.
const LOCKED_USE: usize = 3;
/// The same without the lock.
const UNLOCKED_USE: usize = 4;

/// The end of every list. No frame and no object has this number.
const END: u64 = !0;

/// Empties a cache.
pub(super) fn reset(line: &Line) {
    line.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    line[HEAD].store(END, Ordering::Relaxed);
    line[DEFERRED].store(END, Ordering::Relaxed);
}

/// How many objects of a cache's frames are in use (together: one cache's may be negative while
/// calls are under way).
pub(super) fn in_use(line: &Line) -> u64 {
    let [locked, unlocked] =
        [LOCKED_USE, UNLOCKED_USE].map(|word| line[word].load(Ordering::Relaxed));
    locked.wrapping_add(unlocked)
}

/// A cache and where it gets its frames.
pub(super) struct Cache<'a, S> {
    pub(super) line: &'a Line,
    pub(super) source: &'a S,
    /// The cache's place among all, by which its frames name it.
    pub(super) index: usize,
}

impl<S> Clone for Cache<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Cache<'_, S> {}

impl<'a, S: FrameSource> Cache<'a, S> {
    /// The lock, if it is free.
    #[inline]
    pub(super) fn try_lock(self) -> Option<Locked<'a, S>> {
        // Acquire: pairs with the Release in `Locked::drop`.
        let held = self.line[LOCK].swap(1, Ordering::Acquire);
        // Lazily: a guard that is made and dropped would release the holder's lock.
        (held == 0).then(|| Locked { cache: self })
    }

    /// Allocates from the deferred stack, or from a frame that nobody else knows.
    #[cold]
    pub(super) fn allocate_unlocked(self) -> Option<u64> {
        // Acquire: pairs with the Release in `defer`, for the links.
        let mut first = self.line[DEFERRED].swap(END, Ordering::Acquire);
        if first == END {
            let frame = self.source.take()?;
            first = self.carve(frame);
            // As if all were in use: the frame goes on the list when one of them is taken in.
            let meta = self.source.meta(frame);
            meta.word.store(END, Ordering::Relaxed);
            meta.pins.store((1 << S::PAGE_SHIFT) / self.size() as u32, Ordering::Relaxed);
        }
        let rest = self.link(first);
        if rest != END {
            self.defer(rest);
        }
        self.line[UNLOCKED_USE].fetch_add(1, Ordering::Relaxed);
        Some(first)
    }

    /// Frees by deferring.
    #[cold]
    pub(super) fn free_unlocked(self, object: u64) {
        self.set_link(object, END);
        self.defer(object);
        self.line[UNLOCKED_USE].fetch_sub(1, Ordering::Relaxed);
    }

    /// Pushes a chain of objects on the deferred stack.
    fn defer(&self, first: u64) {
        let stack = &self.line[DEFERRED];
        // Release, here and below: pairs with the Acquire of whoever swaps the stack out.
        let empty = stack.compare_exchange(END, first, Ordering::Release, Ordering::Relaxed);
        let Err(mut head) = empty else { return };
        let mut last = first;
        while self.link(last) != END {
            last = self.link(last);
        }
        loop {
            self.set_link(last, head);
            match stack.compare_exchange_weak(head, first, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => head = found,
            }
        }
    }

    /// Cuts a frame into objects and links them; the first one.
    fn carve(&self, frame: Frame) -> u64 {
        let meta = self.source.meta(frame);
        meta.owner.store(self.index as u64, Ordering::Relaxed);
        meta.become_kind(Kind::Slab);
        let first = frame.0 << S::PAGE_SHIFT;
        let end = first + (1 << S::PAGE_SHIFT);
        for object in (first..end).step_by(self.size()) {
            let next = object + self.size() as u64;
            self.set_link(object, if next == end { END } else { next });
        }
        first
    }

    /// Bytes of an object.
    fn size(&self) -> usize {
        1 << (SMALLEST as usize + self.index % CLASSES)
    }

    #[inline]
    fn link_ptr(&self, object: u64) -> *mut u64 {
        let offset = object as usize & ((1 << S::PAGE_SHIFT) - 1);
        let link = self.source.ptr(Frame(object >> S::PAGE_SHIFT)).wrapping_add(offset).cast();
        #[cfg(vmspace_count_lines)]
        crate::sync::counting::touch(link as usize, true);
        link
    }

    #[inline]
    fn link(&self, object: u64) -> u64 {
        // SAFETY: the source vouches for the frame; the object is free or being carved, and
        // reached by this thread alone (lock, swapped stack, fresh frame), so its first word is
        // a link; objects are aligned to their size.
        unsafe { self.link_ptr(object).read() }
    }

    #[inline]
    fn set_link(&self, object: u64, next: u64) {
        // SAFETY: as in `link`; a freed object is this thread's by the contract of `Slab::free`.
        unsafe { self.link_ptr(object).write(next) }
    }
}

/// A cache whose lock this thread holds.
pub(super) struct Locked<'a, S: FrameSource> {
    cache: Cache<'a, S>,
}

impl<S: FrameSource> Drop for Locked<'_, S> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `Cache::try_lock`.
        self.cache.line[LOCK].store(0, Ordering::Release);
    }
}

impl<S: FrameSource> Locked<'_, S> {
    /// Allocates from the first frame with room.
    #[inline]
    pub(super) fn allocate(&self) -> Option<u64> {
        let head = self.get(HEAD);
        if head == END {
            return None;
        }
        let meta = self.meta(head);
        let object = meta.word.load(Ordering::Relaxed);
        let next = self.cache.link(object);
        meta.word.store(next, Ordering::Relaxed);
        meta.pins.store(meta.pins.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if next == END {
            self.unlink(head);
        }
        self.set(LOCKED_USE, self.get(LOCKED_USE).wrapping_add(1));
        Some(object)
    }

    /// Frees an object of one of the cache's frames.
    #[inline]
    pub(super) fn free(&self, object: u64) {
        self.put(object);
        self.set(LOCKED_USE, self.get(LOCKED_USE).wrapping_sub(1));
    }

    /// Allocates after having found room: deferred objects, else a frame from the source.
    #[cold]
    pub(super) fn refill(self) -> Option<u64> {
        self.take_in_deferred();
        if self.get(HEAD) == END {
            let frame = self.cache.source.take()?;
            let first = self.cache.carve(frame);
            let meta = self.meta(frame.0);
            meta.word.store(first, Ordering::Relaxed);
            meta.pins.store(0, Ordering::Relaxed);
            self.push(frame.0);
        }
        self.allocate()
    }

    /// Puts deferred objects back into their frames.
    pub(super) fn take_in_deferred(&self) {
        // Acquire: pairs with the Release in `Cache::defer`.
        let mut object = self.cache.line[DEFERRED].swap(END, Ordering::Acquire);
        while object != END {
            let next = self.cache.link(object);
            self.put(object);
            object = next;
        }
    }

    /// Gives all empty frames to the source; how many.
    pub(super) fn trim(&self) -> u64 {
        self.take_in_deferred();
        let (mut frame, mut given) = (self.get(HEAD), 0);
        while frame != END {
            let meta = self.meta(frame);
            let next = meta.link.load(Ordering::Relaxed);
            if meta.pins.load(Ordering::Relaxed) == 0 {
                self.give(frame);
                given += 1;
            }
            frame = next;
        }
        given
    }

    /// Puts an object back into its frame, and the frame back to the source when that was its last
    /// and the cache has others.
    #[inline]
    fn put(&self, object: u64) {
        let frame = object >> S::PAGE_SHIFT;
        let meta = self.meta(frame);
        let first = meta.word.load(Ordering::Relaxed);
        self.cache.set_link(object, first);
        meta.word.store(object, Ordering::Relaxed);
        let count = meta.pins.load(Ordering::Relaxed) - 1;
        meta.pins.store(count, Ordering::Relaxed);
        if first == END {
            self.push(frame);
        } else if count == 0 {
            let alone = self.get(HEAD) == frame && meta.link.load(Ordering::Relaxed) == END;
            if !alone {
                self.give(frame);
            }
        }
    }

    #[inline]
    fn give(&self, frame: u64) {
        self.unlink(frame);
        self.cache.source.give(Frame(frame));
    }

    /// Puts a frame at the head of the list.
    #[inline]
    fn push(&self, frame: u64) {
        let head = self.get(HEAD);
        self.meta(frame).link.store(head, Ordering::Relaxed);
        self.meta(frame).base.store(END, Ordering::Relaxed);
        if head != END {
            self.meta(head).base.store(frame, Ordering::Relaxed);
        }
        self.set(HEAD, frame);
    }

    /// Takes a frame off the list.
    #[inline]
    fn unlink(&self, frame: u64) {
        let next = self.meta(frame).link.load(Ordering::Relaxed);
        let previous = self.meta(frame).base.load(Ordering::Relaxed);
        if next != END {
            self.meta(next).base.store(previous, Ordering::Relaxed);
        }
        if previous == END {
            self.set(HEAD, next);
        } else {
            self.meta(previous).link.store(next, Ordering::Relaxed);
        }
    }

    #[inline]
    fn meta(&self, frame: u64) -> &Meta {
        self.cache.source.meta(Frame(frame))
    }

    #[inline]
    fn get(&self, word: usize) -> u64 {
        self.cache.line[word].load(Ordering::Relaxed)
    }

    #[inline]
    fn set(&self, word: usize, value: u64) {
        self.cache.line[word].store(value, Ordering::Relaxed);
    }
}
