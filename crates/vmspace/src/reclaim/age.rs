//! Ages: when a page was used last, in generations.
//!
//! Guarantee: looking at pages takes no lock and loses nothing that hardware writes: an accessed bit
//! is taken by fetch-and (R13, R22), which every absent or non-leaf word leaves as it is.
//!
//! The policy. A page has the generation in which it was last seen used, and whether that is
//! *proven*: the access that brought a page says nothing about the next one. It comes in three
//! generations old; when it is first seen used it is proven and stays as old; later it becomes of
//! this generation. Four generations old, and not used since, it may be stolen. When it comes back
//! within two generations of having been stolen, it is proven at once. So a scan, however long,
//! passes through while what is used again stays. On 18 traces of hot sets and scans, as a
//! geometric mean, it brings back three quarters of what LRU does, CLOCK a quarter more.
//!
//! The pages' generation grows when the hand has gone round and found too little: then every space's
//! entries are looked at, under guards of bounded length, in the registry's order, and flushed once
//! where bits were cleared, lest a CPU that remembers the page never sets the bit again. A space that
//! is being looked at ends after that (R37): who steals never ends one.

use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::counters::Event;
use crate::flush::{Batch, SpaceId};
use crate::format::Geometry;
use crate::frame::meta::Meta;
use crate::lock;
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::swap::Place;
use crate::sync::Ordering;
use crate::tree::walk;
use crate::vm::Vm;

/// An age's bits: known, the generation, proven.
const KNOWN: u16 = 1 << 15;
const GENERATION_BITS: u32 = 14;
const PROVEN: u16 = 1;

/// How old a page comes in.
const NEW: u32 = 3;
/// How old a page is that may be stolen.
const OLD: u32 = 4;
/// Within how many generations a page that was stolen must come back to be proven.
const SOON: u32 = 2;

/// What may be stolen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Urgency {
    /// What has not been used for long.
    Old,
    /// What was not used since it was last looked at.
    Unused,
    /// What was used, but for what a CPU [needs to get on](crate::latest).
    Used,
    /// Everything.
    Any,
}

impl Urgency {
    /// What is tried in turn. All pages grow older between two tries, and those of one generation
    /// have grown old after four.
    pub const ALL: [Urgency; 9] = [
        Urgency::Old,
        Urgency::Old,
        Urgency::Old,
        Urgency::Old,
        Urgency::Old,
        Urgency::Old,
        Urgency::Unused,
        Urgency::Used,
        Urgency::Any,
    ];

    /// The same for who needs memory.
    pub const IN_NEED: &[Urgency] = Urgency::ALL.split_at(Urgency::ALL.len() - 1).0;
}

/// The age of a page used last in a generation.
fn age_of(generation: u32, proven: bool) -> u16 {
    let generation = generation as u16 & ((1 << GENERATION_BITS) - 1);
    KNOWN | generation << 1 | if proven { PROVEN } else { 0 }
}

/// How many generations lie between.
fn generations_since(age: u16, now: u32) -> u32 {
    now.wrapping_sub(u32::from((age & !KNOWN) >> 1)) & ((1 << GENERATION_BITS) - 1)
}

impl<P: Platform> Vm<P> {
    pub(crate) fn generation_now(&self) -> u32 {
        self.reclaim.generation.load(Ordering::Relaxed)
    }

    /// Whether a page looks as if it may be stolen.
    pub(super) fn is_old(&self, frame: Frame, urgency: Urgency) -> bool {
        let meta = self.meta_of(frame);
        let (age, now) = (meta.age(), self.generation_now());
        if meta.pin_count() != 0 && !mutation::active(Mutation::NoPinCheckAtSteal) {
            return false;
        }
        if age == 0 {
            meta.set_age(age_of(now.wrapping_sub(NEW), false));
        }
        let old = urgency != Urgency::Old || age != 0 && generations_since(age, now) >= OLD;
        old && (urgency == Urgency::Any || !self.is_latest(meta))
    }

    /// The page was seen used.
    pub(super) fn note_used(&self, meta: &Meta) {
        let (age, now) = (meta.age(), self.generation_now());
        meta.set_age(match age {
            0 => age_of(now.wrapping_sub(OLD), true),
            _ if age & PROVEN == 0 => age | PROVEN,
            _ => age_of(now, true),
        });
    }

    /// The page was wanted, or cannot go: it is of this generation.
    pub(super) fn rejuvenate(&self, meta: &Meta) {
        meta.set_age(age_of(self.generation_now(), true));
    }

    /// The page is not wanted: it is old.
    pub(crate) fn deprive(&self, meta: &Meta) {
        meta.set_age(age_of(self.generation_now().wrapping_sub(OLD), true));
    }

    /// A page comes back from a slot; whether it had been stolen.
    pub(crate) fn note_refault(&self, meta: &Meta, place: Place) -> bool {
        let Some(gone) = self.gone_since(place) else { return false };
        let now = self.generation_now();
        let proven = now.wrapping_sub(gone) < SOON;
        meta.set_age(age_of(now.wrapping_sub(NEW), proven));
        true
    }

    /// Makes all pages a generation older, but for those that were used since they were looked at
    /// last: what is done anyway when memory is short and too little is old. Nothing, while somebody
    /// else does it. See Linux's multi-gen LRU (lru_gen in debugfs).
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// let at = space.map(&mut ms, Map::anonymous(4096, Rights::READ | Rights::WRITE))?;
    /// space.fault(&mut ms, at, Access::Write).expect("it is mapped");
    /// vm.age(&mut ms);
    /// vm.age(&mut ms); // it has not been used since
    /// assert_eq!(vm.statistics().pages_aged, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn age(&self, ms: &mut MaySleep) {
        let ageing = &self.reclaim.ageing;
        // Acquire, Release: one after the other.
        if ageing.swap(1, Ordering::Acquire) != 0 {
            return self.platform().relax();
        }
        self.reclaim.generation.fetch_add(1, Ordering::Relaxed);
        self.visit_spaces(|space, root| self.look_at(ms, space, root));
        ageing.store(0, Ordering::Release);
    }

    /// Looks at all that a space maps.
    fn look_at(&self, ms: &mut MaySleep, space: SpaceId, root: Frame) {
        // It is ending, or about to be filled.
        if lock::is_unsettled(&self.meta_of(root).lock) {
            return;
        }
        let (mut from, mut used) = (0, 0);
        while from < P::Format::USER_PAGES {
            let guard = self.walk(ms);
            let rest = PageRange::new(from, P::Format::USER_PAGES);
            from = walk::leaves(&guard, root, rest, |met| {
                let Some(meta) = self.mapped_meta(met.leaf.frame) else { return true };
                if met.leaf.accessed && met.clear_accessed() {
                    self.note_used(meta);
                    used += 1;
                } else if meta.age() == 0 {
                    meta.set_age(age_of(self.generation_now().wrapping_sub(OLD), false));
                }
                true
            });
        }
        self.count(Event::PageAged, used);
        let cpus = self.header(space).active.snapshot();
        if used != 0 && !cpus.is_empty() {
            self.platform().shootdown(&cpus, space, &Batch { pages: None, tables: false });
        }
    }
}
