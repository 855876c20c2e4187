//! Runs: aligned frames of one order, as masks inside a word and as spans of whole words.
//!
//! Guarantee: a claim of several words holds all of them or, in the end, none.
//!
//! Protocol: words are claimed in ascending order, each from entirely free to entirely allocated.
//! One that is not entirely free ends the claim, which then frees what it had. Two claims of the
//! same span meet at its first word, so one of them goes on.

use super::area::{WORD_FRAMES, WORD_ORDER};
use super::{Frames, MAX_ORDER};
use crate::addr::Frame;
use crate::sync::Ordering;

/// The bits of a run of `order` (6 at most) at the bottom of a word.
#[inline]
pub(super) const fn run_mask(order: u32) -> u64 {
    !0 >> (WORD_FRAMES - (1 << order))
}

/// The first bits of all free, aligned runs of `order` (6 at most) in a word.
#[inline]
pub(super) const fn free_runs(word: u64, order: u32) -> u64 {
    /// The bits whose positions are multiples of 1, 2, 4, … 64.
    const ALIGNED: [u64; WORD_ORDER as usize + 1] = {
        let mut masks = [0; WORD_ORDER as usize + 1];
        let mut order = 0;
        while order <= WORD_ORDER {
            masks[order as usize] = !0 / run_mask(order);
            order += 1;
        }
        masks
    };
    let mut used = word;
    let mut half = 0;
    while half < order {
        used |= used >> (1 << half);
        half += 1;
    }
    !used & ALIGNED[order as usize]
}

impl Frames<'_> {
    /// Allocates a run of more than a word.
    #[cold]
    pub(super) fn allocate_words(&self, cpu: usize, order: u32) -> Option<Frame> {
        if order > MAX_ORDER {
            return None;
        }
        let count = 1u64 << (order - WORD_ORDER);
        let spans = ((self.areas.len() as u64) << self.area_shift) / count;
        let first = ((self.zone(cpu).start as u64) << self.area_shift) / count;
        let starts = (0..spans).map(|i| (first + i) % spans * count);
        let spared = |start: &u64| {
            let (low, high) = (start >> self.area_shift, (start + count - 1) >> self.area_shift);
            !(low..=high).any(|area| self.is_others(cpu, area as usize))
        };
        let claimed = |start: &u64| self.claim(*start, count);
        let start =
            starts.clone().filter(spared).find(claimed).or_else(|| starts.clone().find(claimed));
        start.map(|start| Frame(start * WORD_FRAMES))
    }

    /// Frees `count` whole words.
    #[cold]
    pub(super) fn free_words(&self, first: u64, count: u64) {
        (first..first + count).for_each(|at| self.clear(at, !0));
    }

    /// Claims `count` words from `first` on, if all their frames are free.
    fn claim(&self, first: u64, count: u64) -> bool {
        let mut words = first..first + count;
        if words.clone().any(|at| self.word(at).load(Ordering::Relaxed) != 0) {
            return false;
        }
        // Acquire: pairs with the Release in `clear`.
        let lost = words.find(|at| {
            let word = self.word(*at);
            word.compare_exchange(0, !0, Ordering::Acquire, Ordering::Relaxed).is_err()
        });
        if let Some(lost) = lost {
            self.free_words(first, lost - first);
        }
        lost.is_none()
    }
}
