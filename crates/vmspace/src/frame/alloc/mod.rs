//! The frame allocator: bits that any CPU may claim, and hints that keep CPUs apart.
//!
//! Guarantee: a frame is handed out to one caller at a time; nothing is lost; no caller ever waits
//! for another, so any context may allocate and free (lock-free). `None` means that at some
//! instant of the call no free, aligned run of that order existed, frees during the call and claims
//! of more than a word that lost a race (they put back what they had) left aside. Two CPUs
//! that use no more than their zones write no common cache line.
//!
//! Protocol: one bit a frame, set while it is allocated; these bits are the only truth. A run of
//! order 6 or less lies in one word and is claimed by one compare-exchange; a longer one word by
//! word, backing out at the first word that somebody else has begun. Freeing clears the bits.
//!
//! An *area* is up to eight words of bits, on a cache line of its own. All the rest are hints, which
//! may be wrong without harm: each CPU has a *cursor*, the word that it allocated from last, and
//! *owns* the area around it, which others leave alone as long as they can. It looks for its next
//! area in its *zone*, its share of memory, from the bottom up, so what it uses stays together and
//! long runs survive above; then at the far ends of other zones; last, in anybody's area. The
//! idea is LLFree's (Wrenger et al., USENIX ATC 2023), without its counters: a bit line says as
//! much at a glance, and a reservation that holds no frames needs no draining.

mod area;
mod run;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::addr::Frame;
use crate::sync::{AtomicU64, Ordering};
use area::{AREA_WORDS, CURSOR, LINE, OWNER, WORD_FRAMES, WORD_ORDER};
use run::{free_runs, run_mask};

/// The largest order that can be allocated: 1 GiB of 4 KiB frames, 16 GiB of 64 KiB frames.
pub const MAX_ORDER: u32 = 18;

/// The frames of a memory, numbered from 0.
///
/// ```
/// # #[cfg(not(loom))] {
/// use vmspace::frame::alloc::Frames;
/// use vmspace::sync::AtomicU64;
///
/// let (frames, cpus) = (4096, 2);
/// let mut words = Vec::new();
/// words.resize_with(Frames::words_needed(frames, cpus), || AtomicU64::new(0));
/// let memory = Frames::new(&words, frames, cpus).unwrap();
/// memory.free_range(0, frames);
///
/// let frame = memory.allocate(1, 0).unwrap();
/// let huge = memory.allocate(0, 9).unwrap();
/// assert_eq!(huge.0 % 512, 0);
/// memory.free(1, frame, 0);
/// memory.free(0, huge, 9);
/// assert_eq!(memory.free_count(), frames);
/// # }
/// ```
#[derive(Debug)]
pub struct Frames<'m> {
    /// Each area's bits in the first line, its owner (a CPU's number plus one) in the second.
    areas: &'m [[AtomicU64; 2 * LINE]],
    /// Each CPU's line: its cursor.
    cpus: &'m [[AtomicU64; LINE]],
    /// log2 of the words in an area.
    area_shift: u32,
}

impl<'m> Frames<'m> {
    /// How many words [`new`](Frames::new) needs for so many frames and CPUs.
    pub const fn words_needed(frames: u64, cpus: usize) -> usize {
        area::count(frames, area::shift(frames, cpus)) * 2 * LINE + cpus * LINE
    }

    /// An allocator that keeps its state in `words`, with every frame allocated: the caller frees
    /// what is usable ([`free_range`](Frames::free_range)). `None` when `words` are too few.
    ///
    /// What the words held does not matter. Nothing else may use them; they should lie on a
    /// cache-line boundary, else CPUs that have nothing in common share lines.
    pub fn new(words: &'m [AtomicU64], frames: u64, cpus: usize) -> Option<Frames<'m>> {
        let words = words.get(..Self::words_needed(frames, cpus))?;
        let (for_cpus, for_areas) = words.split_at_checked(cpus * LINE)?;
        let area_shift = area::shift(frames, cpus);
        let memory =
            Frames { areas: for_areas.as_chunks().0, cpus: for_cpus.as_chunks().0, area_shift };
        for area in memory.areas {
            area[..AREA_WORDS].iter().for_each(|word| word.store(!0, Ordering::Relaxed));
            area[OWNER].store(0, Ordering::Relaxed);
        }
        for (cpu, line) in memory.cpus.iter().enumerate() {
            let first = memory.zone(cpu).start << area_shift;
            line[CURSOR].store(first as u64, Ordering::Relaxed);
        }
        Some(memory)
    }

    /// Allocates `1 << order` frames, contiguous and aligned to their number, for `cpu` (below the
    /// number given to [`new`](Frames::new); the wrong one costs speed only).
    #[inline]
    pub fn allocate(&self, cpu: usize, order: u32) -> Option<Frame> {
        self.allocate_here(cpu, order).or_else(|| self.allocate_elsewhere(cpu, order))
    }

    /// The same where `cpu` allocated from last. None: there is no room in that word.
    #[inline(always)]
    pub(crate) fn allocate_here(&self, cpu: usize, order: u32) -> Option<Frame> {
        if order > WORD_ORDER {
            return None;
        }
        let at = self.cpus[cpu][CURSOR].load(Ordering::Relaxed);
        let bit = take(self.word(at), order)?;
        Some(Frame(at * WORD_FRAMES + bit))
    }

    /// The same wherever there is room.
    #[cold]
    pub(crate) fn allocate_elsewhere(&self, cpu: usize, order: u32) -> Option<Frame> {
        if order > WORD_ORDER { self.allocate_words(cpu, order) } else { self.search(cpu, order) }
    }

    /// The area that `cpu` allocates from.
    pub(crate) fn area_of(&self, cpu: usize) -> u64 {
        self.cpus[cpu][CURSOR].load(Ordering::Relaxed) >> self.area_shift
    }

    /// Frees `1 << order` frames from `frame` on: what [`allocate`](Frames::allocate) gave, or an
    /// aligned part of it.
    #[inline]
    pub fn free(&self, cpu: usize, frame: Frame, order: u32) {
        let at = frame.0 / WORD_FRAMES;
        if order > WORD_ORDER {
            return self.free_words(at, 1 << (order - WORD_ORDER));
        }
        self.clear(at, run_mask(order) << (frame.0 % WORD_FRAMES));
        // What is still in the cache is allocated next.
        let cursor = &self.cpus[cpu][CURSOR];
        let from = cursor.load(Ordering::Relaxed);
        if from != at && from >> self.area_shift == at >> self.area_shift {
            cursor.store(at, Ordering::Relaxed);
        }
    }

    /// Frees the `count` frames from number `first` on, which need no alignment.
    pub fn free_range(&self, first: u64, count: u64) {
        let (mut next, end) = (first, first + count);
        while next < end {
            let bit = next % WORD_FRAMES;
            let here = (WORD_FRAMES - bit).min(end - next);
            self.clear(next / WORD_FRAMES, !0 >> (WORD_FRAMES - here) << bit);
            next += here;
        }
    }

    /// How many frames are free, counted bit by bit: not for a path that is taken often. Exact
    /// while nobody allocates or frees.
    pub fn free_count(&self) -> u64 {
        (0..self.areas.len()).map(|area| u64::from(self.free_in(area))).sum()
    }

    /// The `index`-th word of bits.
    #[inline]
    fn word(&self, index: u64) -> &AtomicU64 {
        let (area, word) = (index >> self.area_shift, index & !(!0 << self.area_shift));
        &self.areas[area as usize][word as usize % AREA_WORDS]
    }

    #[inline]
    fn clear(&self, at: u64, mask: u64) {
        // Release: whoever allocates a frame (Acquire in `take` and `claim`) comes after all
        // that its last owner did to it. Claims in between are read-modify-writes and keep the
        // release sequence going.
        let old = self.word(at).fetch_and(!mask, Ordering::Release);
        debug_assert!(old & mask == mask, "freed twice: word {at}, bits {:#x}", mask & !old);
    }
}

/// Claims the lowest free run of `order` in one word; its first bit.
#[inline]
fn take(word: &AtomicU64, order: u32) -> Option<u64> {
    let mut old = word.load(Ordering::Relaxed);
    loop {
        let starts = free_runs(old, order);
        if starts == 0 {
            return None;
        }
        let bit = starts.trailing_zeros();
        let new = old | run_mask(order) << bit;
        // Acquire: pairs with the Release in `clear` and `free_words`.
        match word.compare_exchange_weak(old, new, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(u64::from(bit)),
            Err(found) => old = found,
        }
    }
}
