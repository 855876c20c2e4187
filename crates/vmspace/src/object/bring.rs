//! Bringing a page of an object in: from its pager, or as zeros.
//!
//! Guarantee: a page found or brought is the object's when it is asked for, and nobody brings what
//! is no longer true. Who fills a page looks at its empty slot first and claims it as it was: a
//! write past the cache, and the end of a page that was there meanwhile, make it another (see
//! `pages`). A truncation since the stamp was taken keeps the page out, too.
//!
//! Who maps a page samples `truncations` first, looks at the length, asks for the page, and compares
//! once the reverse map has its record ([`Stamp::holds`]). Truncation sets the length, counts
//! itself, and then looks for pages and records. So either it finds the record, or he finds it
//! counted; and who samples later finds the new length. Hence the count need not be odd meanwhile,
//! and no fault waits for a truncation.

use super::pages::Empty;
use super::{Body, Object, body, mark_dirty, pages};
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::counters::Event;
use crate::error::Error;
use crate::format::Geometry;
use crate::frame::meta::Kind;
use crate::latest::Wanted;
use crate::pager::{Page, Pager, PagerError};
use crate::platform::Platform;
use crate::rmap;
use crate::swap::Place;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::vm::Vm;
use core::ops::Range;

/// How many pages are brought ahead of one that follows another.
const AHEAD: u64 = 8;

/// How many pages are brought at once because they will be needed. (Linux takes what its device takes
/// in one request.)
const MOST_AHEAD: u64 = 512;

/// The state of an object before a page was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    object: u64,
    truncations: u64,
}

impl Stamp {
    fn take<P: Platform>(vm: &Vm<P>, object: u64) -> Stamp {
        // Acquire: pairs with truncation's Release: who sees it counted sees the new length.
        let truncations = body(vm, object).truncations.load(Ordering::Acquire);
        Stamp { object, truncations }
    }

    /// Whether the page may still be mapped, or come. The caller has a reference to the object, and
    /// the record of the entry to come is in the reverse map, or the page's slot is claimed.
    pub fn holds<P: Platform>(self, vm: &Vm<P>) -> bool {
        // Pairs with the fence in truncation: it sees our record or claim, or we see it counted.
        fence(Ordering::SeqCst);
        body(vm, self.object).truncations.load(Ordering::Relaxed) == self.truncations
    }
}

/// A page of an object with a reference, and what must still hold when it is mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cached {
    pub frame: Frame,
    pub stamp: Stamp,
}

/// Whether a page may lie beyond the object's end: one that a write is about to extend it to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Within,
    Beyond,
}

/// The page at `index`, brought in if need be, and perhaps those that follow. The caller has a
/// reference to the object and holds no lock of the tree. None: it lies beyond the end.
///
/// # Errors
/// [`Error::OutOfMemory`], [`Error::Pager`].
pub(crate) fn page<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    index: u64,
) -> Result<Option<Cached>, Error> {
    let found = body(vm, object);
    let follows = found.pager() != 0
        && !pages::is_there(vm, found, index)
        && index.checked_sub(1).is_some_and(|before| pages::is_there(vm, found, before));
    let cached = get(vm, ms, object, index, Reach::Within)?;
    if follows && cached.is_some() {
        read_ahead(vm, ms, object, index + 1..index.saturating_add(1 + AHEAD));
    }
    Ok(cached)
}

/// The page at `index`, brought in if need be.
pub(super) fn get<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    index: u64,
    reach: Reach,
) -> Result<Option<Cached>, Error> {
    let (found, wanted) = (body(vm, object), Wanted::of_object(object, index));
    let mut room = None;
    loop {
        // Before the length is looked at: a truncation from now on is counted later.
        let stamp = Stamp::take(vm, object);
        let within = reach == Reach::Beyond || index < found.pages::<P::Format>();
        let there = if within { pages::find(vm, found, index) } else { None };
        match (there, room.take()) {
            (None, None) if within => {
                vm.want(wanted);
                room = Some(vm.reclaiming(ms, |_| Room::take(vm, found, index))?);
            }
            (None, Some(room)) if within => {
                if let Some(frame) = fill(vm, ms, index, room, stamp)? {
                    vm.note_brought(wanted, vm.meta_of(frame));
                    return Ok(Some(Cached { frame, stamp }));
                }
            }
            (there, room) => {
                if let Some(room) = room {
                    vm.give_frame(room.frame);
                }
                return Ok(there.map(|frame| Cached { frame, stamp }));
            }
        }
    }
}

/// What a page that is not there needs: a frame, and the slot that it will hang in.
struct Room<'a> {
    frame: Frame,
    slot: &'a AtomicU64,
}

impl<'a> Room<'a> {
    /// None: no memory.
    fn take<P: Platform>(vm: &'a Vm<P>, object: &Body, index: u64) -> Option<Self> {
        let slot = object.tree.make_slot(vm, index)?;
        Some(Room { frame: vm.take_frame(Kind::Page)?, slot })
    }
}

/// Fills the frame and hangs it in the slot; it comes back with a reference for the caller. None:
/// another is there, or the page has changed.
fn fill<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    index: u64,
    room: Room<'_>,
    stamp: Stamp,
) -> Result<Option<Frame>, Error> {
    let Room { frame, slot } = room;
    let Some(empty) = pages::empty(slot) else {
        vm.give_frame(frame);
        return Ok(None);
    };
    let place = empty.place();
    if place.is_some_and(|place| !hold_place(vm, ms, stamp.object, slot, empty, place)) {
        vm.give_frame(frame);
        return Ok(None);
    }
    let filled = contents(vm, ms, body(vm, stamp.object), index, frame, place);
    let filled = filled.map_err(Error::Pager).map(|()| {
        let meta = vm.meta_of(frame);
        rmap::init_cached(meta, stamp.object, index);
        meta.refs.get();
        if place.is_some() {
            // What it holds will be nowhere else.
            mark_dirty(meta);
        }
        let put = pages::put(slot, empty, frame, || stamp.holds(vm));
        if let (true, Some(place)) = (put, place) {
            vm.put_slot(place);
        }
        put
    });
    // Until now nobody else's page was in the slot: it was the object's, or is to be looked for again.
    if let Some(place) = place {
        vm.put_slot(place);
    }
    match filled {
        Ok(true) => return Ok(Some(frame)),
        Ok(false) => {
            rmap::put_page(vm, frame);
            rmap::put_page(vm, frame);
        }
        Err(_) => vm.give_frame(frame),
    }
    filled.map(|_| None)
}

/// A reference to the place on swap that an empty slot names, if it names it still.
fn hold_place<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    slot: &AtomicU64,
    empty: Empty,
    place: Place,
) -> bool {
    let guard = vm.walk(ms);
    if !vm.try_hold_slot_of_object(&guard, place, object) {
        return false;
    }
    let held = pages::is_still(slot, empty);
    if !held {
        vm.put_slot(place);
    }
    held
}

/// Gives a frame that nobody else can reach the contents of a page.
fn contents<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: &Body,
    index: u64,
    frame: Frame,
    place: Option<Place>,
) -> Result<(), PagerError> {
    let pager = object.pager();
    if let Some(place) = place {
        vm.read_slot(ms, place, frame)?;
        vm.count(Event::SwapIn, 1);
        return Ok(());
    }
    if pager == 0 {
        vm.platform().zero(frame);
        return Ok(());
    }
    let page = Page::new(frame, vm.bytes(frame));
    ms.in_driver(|ms| vm.platform().pager().page_in(ms, pager, index, page))?;
    // Beyond the end are the pager's zeros. They are not put here: what a write has given the pager
    // lies beyond the end until the write has looked for pages to bring up to date.
    vm.count(Event::PageIn, 1);
    Ok(())
}

/// Brings the pages that are not there, as long as that is easy.
fn read_ahead<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep, object: u64, pages: Range<u64>) {
    let found = body(vm, object);
    for index in pages {
        let stamp = Stamp::take(vm, object);
        if index >= found.pages::<P::Format>() {
            return;
        }
        if pages::is_there(vm, found, index) {
            continue;
        }
        let Some(room) = Room::take(vm, found, index) else { return };
        match fill(vm, ms, index, room, stamp) {
            Ok(Some(frame)) => rmap::put_page(vm, frame),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// The pages will be asked for: brings the first of them, where a pager has them. The caller has a
/// reference to the object and holds no lock of the tree.
pub(crate) fn will_need<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    pages: Range<u64>,
) {
    if body(vm, object).pager() != 0 {
        let end = pages.end.min(pages.start.saturating_add(MOST_AHEAD));
        read_ahead(vm, ms, object, pages.start..end);
    }
}

/// Brings back the pages of an object of memory that are on a swap area; `go_on` is asked before each.
/// The caller has a reference to the object.
///
/// # Errors
/// [`Error::OutOfMemory`], [`Error::Pager`], that of `go_on`.
pub(crate) fn bring_back<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    area: u8,
    go_on: &dyn Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    let found = body(vm, object);
    let mut from = 0;
    while let Some(index) = pages::next(vm, found, from) {
        if pages::place(vm, found, index).is_some_and(|place| place.area == area) {
            go_on()?;
            if let Some(cached) = get(vm, ms, object, index, Reach::Within)? {
                rmap::put_page(vm, cached.frame);
            }
        }
        from = index + 1;
    }
    Ok(())
}

impl<P: Platform> Object<'_, P> {
    /// Brings what bytes lie in ahead of their use: at most the first 512 pages, and fewer when
    /// memory is short or the pager fails, which nobody is told. See posix_fadvise(2),
    /// POSIX_FADV_WILLNEED.
    pub fn will_need(&self, ms: &mut MaySleep, bytes: Range<u64>) {
        let page = <P::Format as Geometry>::PAGE_SIZE;
        will_need(self.vm, ms, self.address, bytes.start / page..bytes.end.div_ceil(page));
    }
}
