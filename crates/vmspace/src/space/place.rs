//! Where a mapping without a fixed address goes: Linux's placement, top-down.
//!
//! Guarantee: the answer is the highest free range that is long enough below the base, while no
//! other CPU maps or unmaps at the same time; guard gaps below growing stacks count as used. The
//! caller maps it under a cursor that sees it still free, or asks again.
//!
//! The search goes on where the last one ended: above `hint` no range that is free or guard gap is
//! longer than `hole` pages. Unmapping above the hint raises it. All three are hints for speed, and relaxed.

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry};
use crate::header;
use crate::platform::Platform;
use crate::region::Attributes;
use crate::sync::Ordering;
use crate::tree::walk;
use crate::vm::Guard;

/// Linux's gap between the top of the user's addresses and the mapping base, when the stack's
/// limit is not larger.
const GAP_BYTES: u64 = 128 << 20;
/// Without a hint above them addresses stay below 2^47, whatever the format could map.
const CEILING_BYTES: u64 = 1 << 47;

/// The same in pages, no more than there are.
fn ceiling<F: Format>() -> u64 {
    F::USER_PAGES.min(CEILING_BYTES >> F::PAGE_SHIFT)
}

/// Linux's stack_guard_gap, in pages of whatever size.
pub(super) const STACK_GUARD: u64 = 256;

/// A free range that was found.
#[derive(Clone, Copy)]
pub(super) struct Free {
    pub start: u64,
    /// The longest range above it that is free or guard gap, in pages, if the search was an
    /// ordinary one.
    hole: Option<u64>,
}

pub(super) fn init<P: Platform>(place: &header::Place) {
    let shift = P::Format::PAGE_SHIFT;
    let base = ceiling::<P::Format>() - (GAP_BYTES >> shift);
    place.base.store(base, Ordering::Relaxed);
    place.hint.store(base, Ordering::Relaxed);
    place.hole.store(0, Ordering::Relaxed);
}

impl<P: Platform> Space<'_, P> {
    /// Sets the address below which mappings without a fixed address go (page-aligned).
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// space.set_map_base(0x4000_0000);
    /// assert_eq!(space.map(&mut ms, Map::anonymous(0x2000, rw))?, 0x3fff_e000);
    /// assert_eq!(space.map(&mut ms, Map::anonymous(0x1000, rw))?, 0x3fff_d000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_map_base(&self, address: u64) {
        let place = &self.header().place;
        let page = (address >> P::Format::PAGE_SHIFT).min(P::Format::USER_PAGES);
        place.base.store(page, Ordering::Relaxed);
        place.hint.store(page, Ordering::Relaxed);
        place.hole.store(0, Ordering::Relaxed);
    }

    /// Whether `range` is free, and the guard gap of a stack above it too.
    pub(super) fn is_free(&self, ms: &mut MaySleep, range: PageRange) -> bool {
        let guard = self.vm.walk(ms);
        let end = range.end.saturating_add(STACK_GUARD).min(P::Format::USER_PAGES);
        match walk::first_mapped(&guard, self.root(), range.start, end) {
            None => true,
            Some(run) => {
                let stack = run.key.attributes.contains(Attributes::GROWS_DOWN);
                run.range.start >= range.end && !stack
            }
        }
    }

    /// The highest free range of `length` pages below the base; with a `hint` above the ceiling, of
    /// all addresses below the base as far above it.
    pub(super) fn find_free(
        &self,
        ms: &mut MaySleep,
        length: u64,
        hint: u64,
    ) -> Result<Free, Error> {
        let place = &self.header().place;
        let base = place.base.load(Ordering::Relaxed);
        let window = ceiling::<P::Format>();
        let above = if hint > window { P::Format::USER_PAGES - window } else { 0 };
        let hint = place.hint.load(Ordering::Relaxed);
        let hole = place.hole.load(Ordering::Relaxed);
        let cached = above == 0 && length > hole;
        let found = if cached { self.search_down(ms, hint, length, hole) } else { None };
        let found = found.or_else(|| self.search_down(ms, base + above, length, 0));
        if let Some(free) = found
            && above == 0
        {
            return Ok(free);
        }
        found
            // Linux falls back to searching above the base.
            .or_else(|| self.search_down(ms, window + above, length, 0))
            .map(|free| Free { hole: None, ..free })
            .ok_or(Error::NoFreeRange)
    }

    /// What was found is mapped: the next search goes on there.
    pub(super) fn has_taken(&self, free: Free) {
        let place = &self.header().place;
        let Some(hole) = free.hole else { return };
        if place.hint.load(Ordering::Relaxed) != free.start {
            place.hint.store(free.start, Ordering::Relaxed);
        }
        if place.hole.load(Ordering::Relaxed) != hole {
            place.hole.store(hole, Ordering::Relaxed);
        }
    }

    /// The highest free range of `length` pages that ends at or below `from`. `hole` counts among
    /// what it passes over.
    fn search_down(
        &self,
        ms: &mut MaySleep,
        from: u64,
        length: u64,
        mut hole: u64,
    ) -> Option<Free> {
        let guard = self.vm.walk(ms);
        let least = super::map::LEAST_ADDRESS >> P::Format::PAGE_SHIFT;
        // The free range being looked at ends at `top`, below a stack that begins at `stack`.
        // Where it would be long enough but for the guard gap, the search goes on below the gap,
        // as Linux's does, past mappings that may lie in it: below `high`.
        let (mut page, mut top, mut high) = (from, from, from);
        let mut stack = self.stack_above(&guard, from);
        while page > least {
            let run = walk::run(&guard, self.root(), page - 1);
            page = run.range.start;
            if run.key.is_mapped() {
                hole = hole.max(top.saturating_sub(run.range.end));
                top = page;
                stack = run.key.attributes.contains(Attributes::GROWS_DOWN).then_some(page);
                continue;
            }
            let room = |high: u64| top.min(high).saturating_sub(page.max(least));
            if room(high) >= length
                && let Some(stack) = stack
            {
                high = high.min(stack.saturating_sub(STACK_GUARD));
            }
            if room(high) >= length {
                let end = top.min(high);
                let hole = Some(hole.max(top - end));
                return Some(Free { start: end - length, hole });
            }
        }
        None
    }

    /// Where the next mapping from `from` on begins, if it is a stack whose guard gap matters.
    fn stack_above(&self, guard: &Guard<'_, P>, from: u64) -> Option<u64> {
        let end = from.saturating_add(STACK_GUARD).min(P::Format::USER_PAGES);
        let run = walk::first_mapped(guard, self.root(), from, end)?;
        run.key.attributes.contains(Attributes::GROWS_DOWN).then_some(run.range.start.max(from))
    }

    /// `range` has become free: searches begin no lower than the end of the free range around it.
    pub(super) fn has_freed(&self, ms: &mut MaySleep, range: PageRange) {
        let place = &self.header().place;
        let hint = place.hint.load(Ordering::Relaxed);
        let base = place.base.load(Ordering::Relaxed);
        if range.end < hint || range.start >= base {
            return;
        }
        let guard = self.vm.walk(ms);
        let end = walk::first_mapped(&guard, self.root(), range.start, base)
            .map_or(base, |run| run.range.start);
        if end > hint {
            place.hint.store(end, Ordering::Relaxed);
        }
    }
}
