//! Areas: where a CPU allocates next when the word at its cursor has no room.
//!
//! Guarantee: [`Frames::search`] ends with a look at every word of every area, whoever owns it; so
//! it fails only when there is no room at all. The looks before that differ only in speed: they
//! keep CPUs on separate lines and long runs whole.
//!
//! Protocol: an area's owner word is 0 or a CPU's number plus one. A CPU writes its number there
//! when it moves its cursor in, and takes it out when it moves on. Nobody else clears it, and
//! nothing depends on it: it is a sign at the door.

use super::{Frames, take};
use crate::addr::Frame;
use crate::sync::Ordering;
use core::ops::Range;

/// Frames in a word of bits.
pub(super) const WORD_FRAMES: u64 = u64::BITS as u64;
/// The order of a whole word.
pub(super) const WORD_ORDER: u32 = WORD_FRAMES.trailing_zeros();
/// Words in a cache line.
pub(super) const LINE: usize = 8;
/// The most words of bits in an area.
pub(super) const AREA_WORDS: usize = LINE;
/// The place of an area's owner, on the line after its bits.
pub(super) const OWNER: usize = LINE;
/// The place of a CPU's cursor.
pub(super) const CURSOR: usize = 0;

/// log2 of the words in an area: a whole line of bits, or less where memory is so small that CPUs
/// would get less than two areas each.
pub(super) const fn shift(frames: u64, cpus: usize) -> u32 {
    let mut shift = AREA_WORDS.trailing_zeros();
    while shift > 0 && count(frames, shift) < 2 * cpus {
        shift -= 1;
    }
    shift
}

/// How many areas of `1 << shift` words hold the bits of `frames`.
pub(super) const fn count(frames: u64, shift: u32) -> usize {
    let areas = frames.div_ceil(WORD_FRAMES << shift) as usize;
    if areas > 0 { areas } else { 1 }
}

/// What a look into an area insists on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Insist {
    /// Nobody else's, and an eighth of it free, so that it lasts for a while.
    Roomy,
    /// Nobody else's.
    Unowned,
    /// Nothing.
    Nothing,
}

impl Frames<'_> {
    /// Finds room anywhere, and moves `cpu`'s cursor there.
    pub(super) fn search(&self, cpu: usize, order: u32) -> Option<Frame> {
        let areas = self.areas.len();
        let here = (self.cpus[cpu][CURSOR].load(Ordering::Relaxed) >> self.area_shift) as usize;
        let look = |insist| move |area| self.look(cpu, area, order, insist);
        let upwards = (0..areas).map(|i| (here + i) % areas);
        let downwards = (0..areas).map(|i| (here + areas - i) % areas);
        self.look(cpu, here, order, Insist::Nothing)
            .or_else(|| self.zone(cpu).find_map(look(Insist::Roomy)))
            .or_else(|| downwards.clone().find_map(look(Insist::Roomy)))
            .or_else(|| upwards.clone().find_map(look(Insist::Unowned)))
            .or_else(|| upwards.clone().find_map(look(Insist::Nothing)))
    }

    /// The areas where `cpu` looks first: its share, or one in common where there are fewer areas
    /// than CPUs.
    pub(super) fn zone(&self, cpu: usize) -> Range<usize> {
        let (areas, cpus) = (self.areas.len(), self.cpus.len());
        let start = cpu * areas / cpus;
        start..((cpu + 1) * areas / cpus).max(start + 1)
    }

    /// How many frames of an area are free.
    pub(super) fn free_in(&self, area: usize) -> u32 {
        let words = &self.areas[area][..1 << self.area_shift];
        words.iter().map(|word| word.load(Ordering::Relaxed).count_zeros()).sum()
    }

    /// Whether less than an eighth of an area is free.
    pub(crate) fn has_little(&self, area: u64) -> bool {
        self.free_in(area as usize) < (WORD_FRAMES << self.area_shift) as u32 / 8
    }

    /// Whether another CPU has its cursor in the area.
    pub(super) fn is_others(&self, cpu: usize, area: usize) -> bool {
        let owner = self.areas[area][OWNER].load(Ordering::Relaxed);
        owner != 0 && owner != sign(cpu)
    }

    fn look(&self, cpu: usize, area: usize, order: u32, insist: Insist) -> Option<Frame> {
        if insist != Insist::Nothing && self.is_others(cpu, area) {
            return None;
        }
        if insist == Insist::Roomy && self.has_little(area as u64) {
            return None;
        }
        let first = (area as u64) << self.area_shift;
        (first..first + (1 << self.area_shift)).find_map(|at| {
            let bit = take(self.word(at), order)?;
            self.move_cursor(cpu, area, at);
            Some(Frame(at * WORD_FRAMES + bit))
        })
    }

    fn move_cursor(&self, cpu: usize, area: usize, at: u64) {
        let swap_owner = |area: usize, old, new| {
            let owner = &self.areas[area][OWNER];
            // Losing this race leaves a wrong hint, no more.
            let _ = owner.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        };
        let cursor = &self.cpus[cpu][CURSOR];
        let from = (cursor.load(Ordering::Relaxed) >> self.area_shift) as usize;
        if from != area {
            swap_owner(from, sign(cpu), 0);
        }
        swap_owner(area, 0, sign(cpu));
        cursor.store(at, Ordering::Relaxed);
    }
}

/// What an owner writes.
fn sign(cpu: usize) -> u64 {
    cpu as u64 + 1
}
