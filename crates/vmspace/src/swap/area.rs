//! Swap areas: a device's slots, and which of them are free.
//!
//! Guarantee: all that an area needs is made when it is added, so storing a page takes no memory. A
//! slot is one word ([`word`](super::word)); zero is free. An area is one for as long as a slot of
//! it is held, or a guard under which it was found.
//!
//! The words lie in frames of their own; each frame's metadata count those that are taken, so that
//! a search passes over what is full. Whoever stores several pages takes slots that follow one
//! another ([`Cluster`]): what was stored together is brought back together.

use super::word;
use crate::addr::Frame;
use crate::format::Geometry;
use crate::frame::meta::Kind;
use crate::lock::SleepLock;
use crate::platform::Platform;
use crate::sync::{AtomicU32, AtomicU64, Change, Ordering};
use crate::vm::Vm;
use core::mem::size_of;

/// The most areas, where entries can name so many.
pub(super) const MOST_AREAS: usize = 32;

/// log2 of an area's bytes.
pub(super) const AREA_LOG2: u32 = 6;

/// How many slots that follow one another a search asks for.
const CLUSTER: u64 = 32;

/// A slot of an area: what an entry of a page on swap names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The area's number.
    pub area: u8,
    pub slot: u64,
}

/// All areas of a manager.
#[derive(Debug, Default)]
pub(crate) struct Areas {
    /// Where they lie; 0: none.
    pub(super) table: [AtomicU64; MOST_AREAS],
    /// How many there are.
    pub(super) count: AtomicU32,
    /// Whose turn it is among equals.
    turn: AtomicU32,
    /// Held by who adds or removes one.
    pub(super) changes: SleepLock,
}

/// What becomes of an area's slots.
pub(super) const OPEN: u32 = 0;
/// It gets no more pages: it failed.
pub(super) const FAILED: u32 = 1;
/// It gets no more pages: it is being removed.
pub(super) const LEAVING: u32 = 2;
/// It was full: it gets no more pages in the generation that is above these bits.
const FULL: u32 = 3;
const STATE_BITS: u32 = 2;

/// What is kept of an area.
#[repr(C, align(64))]
pub(super) struct Area {
    /// The platform's number of it.
    pub device: AtomicU64,
    pub slots: AtomicU64,
    /// Its priority, a signed number of 32 bits.
    pub priority: AtomicU32,
    pub state: AtomicU32,
    /// Where the next search begins.
    pub cursor: AtomicU64,
    /// Where the numbers of the frames lie that hold the words.
    pub directory: AtomicU64,
    /// Where those who read one slot after the other are expected next, the latest first.
    streams: [AtomicU64; 3],
}

const _: () = assert!(cfg!(loom) || size_of::<Area>() == 1 << AREA_LOG2);

impl Area {
    pub fn device(&self) -> u64 {
        self.device.load(Ordering::Relaxed)
    }

    pub fn slots(&self) -> u64 {
        self.slots.load(Ordering::Relaxed)
    }

    pub fn priority(&self) -> i32 {
        self.priority.load(Ordering::Relaxed).cast_signed()
    }

    /// Nobody reads anything yet.
    pub fn expect_nobody(&self) {
        self.streams.iter().for_each(|stream| stream.store(self.slots(), Ordering::Relaxed));
    }

    /// Whether who wants this slot has wanted the one before, or the one before that: then he is
    /// expected `ahead` slots further on, else at the next. Of those expected the oldest is
    /// forgotten.
    pub fn was_expected(&self, slot: u64, ahead: u64) -> bool {
        let expects = |stream: &&AtomicU64| slot.wrapping_sub(stream.load(Ordering::Relaxed)) < 2;
        if let Some(stream) = self.streams.iter().find(expects) {
            stream.store(slot + ahead, Ordering::Relaxed);
            return true;
        }
        let mut latest = slot + 1;
        for stream in &self.streams {
            latest = stream.swap(latest, Ordering::Relaxed);
        }
        false
    }

    /// It is given no more pages.
    pub fn fail(&self) {
        self.become_unless_leaving(FAILED);
    }

    /// It is given no more pages in this generation: others may have room meanwhile.
    pub fn fill(&self, generation: u32) {
        self.become_unless_leaving(generation << STATE_BITS | FULL);
    }

    fn become_unless_leaving(&self, state: u32) {
        self.state.change(Ordering::Relaxed, |now| (now != LEAVING).then_some(state));
    }

    /// Whether it is being removed.
    pub fn is_leaving(&self) -> bool {
        self.state.load(Ordering::Relaxed) == LEAVING
    }

    /// Whether it can be relied on: it is neither being removed nor has it failed.
    pub fn is_sound(&self) -> bool {
        !matches!(self.state.load(Ordering::Relaxed), FAILED | LEAVING)
    }

    /// Whether it gets pages in this generation.
    pub fn is_open(&self, generation: u32) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let full_now = generation << STATE_BITS | FULL;
        self.is_sound() && state != full_now
    }
}

/// Slots whose words lie in one frame.
pub(super) fn slots_a_frame<P: Platform>() -> u64 {
    <P::Format as Geometry>::PAGE_SIZE / size_of::<AtomicU64>() as u64
}

impl<P: Platform> Vm<P> {
    /// The area at an address where there is one.
    pub(super) fn area_at(&self, address: u64) -> &Area {
        let words = self.words_at(address, size_of::<Area>() / size_of::<AtomicU64>());
        // SAFETY: `swap_on` put an area there: atomics alone, valid whatever they hold, aligned to
        // 64 as blocks of 64 bytes are; it goes a grace period after it left the table.
        unsafe { &*words.as_ptr().cast::<Area>() }
    }

    /// An area, if there is one of that number.
    pub(super) fn area(&self, number: u8) -> Option<&Area> {
        // Acquire: pairs with the Release that put it there.
        let address = self.areas.table.get(usize::from(number))?.load(Ordering::Acquire);
        (address != 0).then(|| self.area_at(address))
    }

    /// All areas with their numbers.
    pub(super) fn areas(&self) -> impl Iterator<Item = (u8, &Area)> {
        (0..MOST_AREAS as u8).filter_map(|number| Some((number, self.area(number)?)))
    }

    /// The frame that holds the words from `slot` on, and their metadata.
    fn frame_of_words(&self, area: &Area, slot: u64) -> Frame {
        let index = slot / slots_a_frame::<P>();
        let directory = area.directory.load(Ordering::Relaxed);
        let entry = self.words_at(directory + index * size_of::<AtomicU64>() as u64, 1);
        Frame(entry[0].load(Ordering::Relaxed))
    }

    fn words_in(&self, frame: Frame) -> &[AtomicU64] {
        self.words_at(frame.0 << self.page_shift(), slots_a_frame::<P>() as usize)
    }

    /// The word of a slot that the area has.
    pub(super) fn slot_word<'a>(&'a self, area: &Area, slot: u64) -> &'a AtomicU64 {
        let frame = self.frame_of_words(area, slot);
        &self.words_in(frame)[(slot % slots_a_frame::<P>()) as usize]
    }

    /// How many slots are taken of those whose words lie in one frame with that of `slot`.
    pub(super) fn taken_beside(&self, area: &Area, slot: u64) -> &AtomicU32 {
        &self.meta_of(self.frame_of_words(area, slot)).pins
    }

    /// How many slots of the area hold something, or are about to.
    pub(super) fn slots_used(&self, area: &Area) -> u64 {
        let (slots, each) = (area.slots(), slots_a_frame::<P>());
        let taken = |n: u64| u64::from(word::counted(self.taken_beside(area, n * each)));
        let all: u64 = (0..slots.div_ceil(each)).map(taken).sum();
        all.saturating_sub(slots.next_multiple_of(each) - slots)
    }

    /// The words of an area of so many slots, all free; those beyond it never are. None: no memory.
    pub(super) fn make_words(&self, slots: u64) -> Option<u64> {
        let each = slots_a_frame::<P>();
        let frames = slots.div_ceil(each);
        let directory = self.take_block(directory_log2(frames))?;
        let entries = self.words_at(directory, frames as usize);
        for (made, entry) in entries.iter().enumerate() {
            let Some(frame) = self.take_frame(Kind::Own) else {
                self.free_words(directory, made as u64, frames);
                return None;
            };
            let left = slots - made as u64 * each;
            for (slot, word) in self.words_in(frame).iter().enumerate() {
                let free = if (slot as u64) < left { 0 } else { word::GOING };
                word.store(free, Ordering::Relaxed);
            }
            let beyond = each.saturating_sub(left) as u32;
            self.meta_of(frame).pins.store(beyond, Ordering::Relaxed);
            entry.store(frame.0, Ordering::Relaxed);
        }
        Some(directory)
    }

    /// Gives back the words of an area of so many slots.
    pub(super) fn free_words_of(&self, directory: u64, slots: u64) {
        let frames = slots.div_ceil(slots_a_frame::<P>());
        self.free_words(directory, frames, frames);
    }

    /// Gives back the first `made` of the frames that hold words, and the directory of `frames`.
    fn free_words(&self, directory: u64, made: u64, frames: u64) {
        for entry in self.words_at(directory, made as usize) {
            self.give_frame(Frame(entry.load(Ordering::Relaxed)));
        }
        self.give_block(directory, directory_log2(frames));
    }

    /// Takes a free slot of the area at or after `from`, around its end if need be, whose word
    /// becomes `word`.
    fn take_slot_from(&self, area: &Area, from: u64, word: u64) -> Option<u64> {
        let (slots, each) = (area.slots(), slots_a_frame::<P>());
        let frames = slots.div_ceil(each);
        let (first, within) = (from % slots / each, from % slots % each);
        // The first frame's words before `from` come last.
        (0..=frames).find_map(|n| {
            let nth = (first + n) % frames;
            let start = if n == 0 { within } else { 0 };
            let slot = self.take_slot_in(area, nth * each, start, word)?;
            Some(nth * each + slot)
        })
    }

    /// The same among the slots from `base` on whose words lie in one frame. It is counted before it
    /// is taken: who removes the area either sees it counted, or is seen.
    fn take_slot_in(&self, area: &Area, base: u64, start: u64, word: u64) -> Option<u64> {
        let taken = self.taken_beside(area, base);
        if !word::count_one(taken, slots_a_frame::<P>() as u32) {
            return None;
        }
        let words = self.words_in(self.frame_of_words(area, base))[start as usize..].iter();
        let now = self.generation_now();
        let found = words.enumerate().find(|(_, slot)| area.is_open(now) && word::take(slot, word));
        if found.is_none() {
            word::uncount(taken);
        }
        found.map(|(nth, _)| start + nth as u64)
    }
}

fn directory_log2(frames: u64) -> u32 {
    let bytes = frames * size_of::<AtomicU64>() as u64;
    bytes.next_power_of_two().trailing_zeros().max(5)
}

/// Slots that follow one another, as far as there are such, for pages that are stored together.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// The area, and where the next slot is looked for.
    at: Option<(u8, u64)>,
}

impl Cluster {
    /// A free slot, whose word becomes `word`, of an area of the highest priority that has one;
    /// equal ones in turn. None: there is none.
    pub fn take<P: Platform>(&mut self, vm: &Vm<P>, word: u64) -> Option<Place> {
        if vm.areas.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        // The areas that are found are areas until the guard goes.
        let _guard = vm.enter();
        let next = self.at.and_then(|(number, from)| take_in(vm, number, from, word));
        let place = next.or_else(|| take_anywhere(vm, word))?;
        self.at = Some((place.area, place.slot + 1));
        Some(place)
    }
}

fn take_in<P: Platform>(vm: &Vm<P>, number: u8, from: u64, word: u64) -> Option<Place> {
    let area = vm.area(number).filter(|area| area.is_open(vm.generation_now()))?;
    Some(Place { area: number, slot: vm.take_slot_from(area, from, word)? })
}

fn take_anywhere<P: Platform>(vm: &Vm<P>, word: u64) -> Option<Place> {
    let turn = vm.areas.turn.fetch_add(1, Ordering::Relaxed) as u8;
    let rank =
        |number: u8, area: &Area| (area.priority(), number.wrapping_add(turn) % MOST_AREAS as u8);
    let mut before = None;
    loop {
        let open = vm.areas().filter(|(_, area)| area.is_open(vm.generation_now()));
        let later = open.filter(|(number, area)| before.is_none_or(|b| rank(*number, area) < b));
        let (number, area) = later.max_by_key(|(number, area)| rank(*number, area))?;
        let from = area.cursor.fetch_add(CLUSTER, Ordering::Relaxed);
        if let Some(place) = take_in(vm, number, from, word) {
            return Some(place);
        }
        before = Some(rank(number, area));
    }
}
