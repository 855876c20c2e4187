//! What of a space is in memory: /proc/PID/smaps and /proc/PID/pagemap.
//!
//! Guarantee: no locks, and no guard that is held for more than a bounded number of entries. A
//! region's bounds are what they were at one instant; each page is counted as its entry was at an
//! instant of its own. How many entries map a page is told from its references, so it is exact when
//! nobody maps, unmaps, holds or copies the page at that moment, and too large by those who do
//! otherwise. The cost is that of the tables and entries that exist.

use super::{Region, Space};
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry};
use crate::frame::meta::Meta;
use crate::object;
use crate::platform::Platform;
use crate::rmap;
use crate::swap::Place;
use crate::tree::walk::{self, Met};

/// What of a mapping is in memory, in bytes, as Linux's /proc/PID/smaps counts it: the zero page and
/// frames that are not the manager's are not counted.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// # let space = Space::new(&vm, &mut ms)?;
/// # let rw = Rights::READ | Rights::WRITE;
///
/// let at = space.map(&mut ms, Map::anonymous(16_384, rw))?;
/// space.fault(&mut ms, at, Access::Write).expect("it is mapped");
/// space.smaps(&mut ms, |region, smaps| {
///     assert_eq!((region.end - region.start, smaps.rss), (16_384, 4096));
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Smaps {
    /// In memory.
    pub rss: u64,
    /// The same, each page divided by how many entries map it.
    pub pss: u64,
    /// The part of `pss` that is dirty.
    pub pss_dirty: u64,
    /// Mapped by others too, not written since it was brought in.
    pub shared_clean: u64,
    /// Mapped by others too, and written.
    pub shared_dirty: u64,
    /// Mapped by this entry alone, not written.
    pub private_clean: u64,
    /// Mapped by this entry alone, and written.
    pub private_dirty: u64,
    /// Accessed.
    pub referenced: u64,
    /// No object's.
    pub anonymous: u64,
    /// The part of `pss` that is locked.
    pub locked: u64,
    /// On swap; what objects of memory have there is not counted.
    pub swap: u64,
    /// The same, each page divided by how many entries name it.
    pub swap_pss: u64,
}

/// Bits of a word of /proc/PID/pagemap beside the frame number.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;
const EXCLUSIVE: u64 = 1 << 56;
const FRAME_BITS: u32 = 55;
/// Of a page on swap: where the slot is, above the area's number.
const SLOT_SHIFT: u32 = 5;

/// Shares of a page are summed up in this fraction of a byte, so that they add up to pages.
const SHARE_SHIFT: u32 = 12;

impl<P: Platform> Space<'_, P> {
    /// Calls `visit` for each mapping, ascending, with what of it is in memory. See proc_pid_smaps(5).
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{Access, Map, MaySleep, Space, format::{Rights, Sv48}};
    /// # let vm = host::Host::<Sv48>::new(1024, 1).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let space = Space::new(&vm, &mut ms)?;
    /// let at = space.map(&mut ms, Map::anonymous(1 << 20, Rights::READ | Rights::WRITE))?;
    /// space.write(&mut ms, at + 8190, b"over two pages");
    /// let child = space.fork(&mut ms)?;
    /// child.write(&mut ms, at + 4096, b"a page of its own");
    /// child.smaps(&mut ms, |region, smaps| {
    ///     assert_eq!(region.end - region.start, 1 << 20);
    ///     assert_eq!((smaps.rss, smaps.pss), (8192, 4096 + 2048));
    ///     assert_eq!((smaps.private_dirty, smaps.shared_dirty), (4096, 4096));
    /// });
    /// # Ok::<(), vmspace::Error>(())
    /// ```
    pub fn smaps(&self, ms: &mut MaySleep, mut visit: impl FnMut(Region, Smaps)) {
        let mut from = 0;
        while let Some(region) = self.next_region(ms, from) {
            from = region.end;
            let smaps = self.smaps_of(ms, &region);
            visit(region, smaps);
        }
    }

    /// What of one mapping is in memory, or of what is mapped there now.
    pub fn smaps_of(&self, ms: &mut MaySleep, region: &Region) -> Smaps {
        let shift = P::Format::PAGE_SHIFT;
        let (mut sum, mut shares) = (Smaps::default(), [0; 2]);
        let range = PageRange::new(region.start >> shift, region.end >> shift);
        let range = range.intersect(self.user());
        self.for_each_leaf(ms, range, |met| {
            let Some(meta) = self.vm.mapped_meta(met.leaf.frame) else { return true };
            let facts = Facts::of(meta);
            let stands = met.stands();
            if stands {
                sum.add(&met, facts, met.pages.len() << shift, &mut shares);
            }
            stands
        });
        let [clean, dirty] = shares;
        sum.pss = (clean + dirty) >> SHARE_SHIFT;
        sum.pss_dirty = dirty >> SHARE_SHIFT;
        sum.locked = if region.locked { sum.pss } else { 0 };
        self.for_each_swapped(ms, range, |_, place| {
            let (named, _) = self.vm.slot_count(place);
            sum.swap += 1 << shift;
            sum.swap_pss += (1 << shift) / named.max(1);
        });
        sum
    }

    /// Words of /proc/PID/pagemap for the pages from `address` on, as many as `into` has, or as there
    /// are up to the end of the user's addresses: how many. Bit 63: present; 61: an object's page;
    /// 56: mapped once; 0 to 54: the frame's number. Bit 62: on swap; 0 to 4 the area's number, 5 to 54 the
    /// slot. See proc_pid_pagemap(5).
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{Access, Map, MaySleep, Space, format::{Rights, Sv48}};
    /// # let vm = host::Host::<Sv48>::new(1024, 1).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let space = Space::new(&vm, &mut ms)?;
    /// let at = space.map(&mut ms, Map::anonymous(8192, Rights::READ | Rights::WRITE))?;
    /// space.write(&mut ms, at + 4096, b"here");
    /// let mut words = [0; 2];
    /// assert_eq!(space.pagemap(&mut ms, at, &mut words)?, 2);
    /// let frame = space.translate(&vm.walk(&mut ms), at + 4096).unwrap().frame;
    /// assert_eq!(words, [0, 1 << 63 | 1 << 56 | frame.0]);
    /// # Ok::<(), vmspace::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Misaligned`].
    pub fn pagemap(
        &self,
        ms: &mut MaySleep,
        address: u64,
        into: &mut [u64],
    ) -> Result<usize, Error> {
        if !address.is_multiple_of(<P::Format as Geometry>::PAGE_SIZE) {
            return Err(Error::Misaligned);
        }
        let first = address >> P::Format::PAGE_SHIFT;
        let all = PageRange::new(first, first.saturating_add(into.len() as u64));
        let range = all.intersect(self.user());
        let into = &mut into[..range.len() as usize];
        into.fill(0);
        self.for_each_leaf(ms, range, |met| {
            let facts = self.vm.mapped_meta(met.leaf.frame).map(Facts::of);
            if !met.stands() {
                return false;
            }
            let about = PRESENT | facts.map_or(0, Facts::bits);
            for (nth, page) in (met.pages.start..met.pages.end).enumerate() {
                let frame = met.leaf.frame.add(nth as u64).0;
                into[(page - first) as usize] = about | frame & ((1 << FRAME_BITS) - 1);
            }
            true
        });
        self.for_each_swapped(ms, range, |page, place| {
            let word = &mut into[(page - first) as usize];
            if *word == 0 {
                *word = SWAPPED | place.slot << SLOT_SHIFT | u64::from(place.area);
            }
        });
        Ok(into.len())
    }

    /// Calls `visit` for each page of `range` whose entry says that it is on swap, and where.
    fn for_each_swapped(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        mut visit: impl FnMut(u64, Place),
    ) {
        let mut from = range.start;
        while from < range.end {
            let guard = self.vm.walk(ms);
            let rest = PageRange::new(from, range.end);
            from = walk::swapped(&guard, self.root(), rest, &mut visit);
        }
    }

    /// Calls `visit` for each leaf entry of `range`, again where it answers that it has changed, under
    /// guards of bounded length.
    fn for_each_leaf(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        mut visit: impl FnMut(Met<'_, P>) -> bool,
    ) {
        let mut from = range.start;
        while from < range.end {
            let guard = self.vm.walk(ms);
            from = walk::leaves(&guard, self.root(), PageRange::new(from, range.end), &mut visit);
        }
    }
}

/// What is known of a page. It is true if the entry that named the page before does so afterwards.
#[derive(Clone, Copy)]
struct Facts {
    cached: bool,
    dirty: bool,
    mappers: u32,
}

impl Facts {
    fn of(meta: &Meta) -> Facts {
        let cached = meta.object().is_some();
        Facts { cached, dirty: cached && object::is_dirty(meta), mappers: rmap::count(meta) }
    }

    /// What the pagemap says of the page beside where it is.
    fn bits(self) -> u64 {
        let object = if self.cached { FILE_OR_SHARED } else { 0 };
        object | if self.mappers == 1 { EXCLUSIVE } else { 0 }
    }
}

impl Smaps {
    /// Counts the `bytes` of an entry; to `shares`, of what is clean and what is dirty, goes this
    /// entry's share of them.
    fn add<P: Platform>(
        &mut self,
        met: &Met<'_, P>,
        facts: Facts,
        bytes: u64,
        shares: &mut [u64; 2],
    ) {
        let dirty = met.leaf.dirty || facts.dirty;
        let by_sharing = match (facts.mappers, dirty) {
            (1, false) => &mut self.private_clean,
            (1, true) => &mut self.private_dirty,
            (_, false) => &mut self.shared_clean,
            (_, true) => &mut self.shared_dirty,
        };
        *by_sharing += bytes;
        self.rss += bytes;
        self.referenced += if met.leaf.accessed { bytes } else { 0 };
        self.anonymous += if facts.cached { 0 } else { bytes };
        shares[usize::from(dirty)] += (bytes << SHARE_SHIFT) / u64::from(facts.mappers);
    }
}
