//! msync(2), fsync(2): what is dirty goes to the pager.
//!
//! Guarantee: what was stored before [`Object::sync`] is called has been handed to the pager when
//! it returns without an error; what the pager refused stays dirty, and the call says so.
//!
//! A page is dirty if an entry says so, or its metadata. Whoever takes an entry out passes its
//! dirty bit on to the metadata, before the record goes, and again when the translations are gone:
//! who looks at the records and then at the metadata misses nothing that was stored before, and
//! what is stored meanwhile through a translation that is going is not forgotten.

use super::{Body, Object, Refusal, mappers, pages};
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::counters::Event;
use crate::error::Error;
use crate::format::{Format, Geometry};
use crate::frame::meta::Meta;
use crate::pager::{Page, Pager, PagerError};
use crate::platform::Platform;
use crate::rmap;
use crate::sync::Ordering;
use crate::vm::Vm;
use core::ops::Range;

/// The page has been written, and its pager does not know. Nothing for a page of no object.
pub(crate) fn mark_dirty(meta: &Meta) {
    if meta.is_cached() {
        // Release: what was stored, for who takes it and hands the page over.
        meta.occupied.fetch_or(1, Ordering::Release);
    }
}

/// Whether the metadata say that the page was written.
pub(crate) fn is_dirty(meta: &Meta) -> bool {
    meta.occupied.load(Ordering::Relaxed) != 0
}

/// The same, and it is no longer said.
pub(crate) fn take_dirty(meta: &Meta) -> bool {
    // Acquire: pairs with `mark_dirty`.
    is_dirty(meta) && meta.occupied.swap(0, Ordering::Acquire) != 0
}

impl<P: Platform> Object<'_, P> {
    /// Hands what is dirty of a range of bytes to the pager. See msync(2), fsync(2).
    ///
    /// # Errors
    /// [`Error::Pager`], the first, or what the stealer was told since the last call; the other pages
    /// have been handed over all the same.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let file = vm.object(&mut ms, 0x1000, 1)?; // its pager's number 1
    /// let map = Map::anonymous(0x1000, rw).shared();
    /// let at = space.map_object(&mut ms, map, &file, 0)?;
    /// space.write(&mut ms, at, b"stored");
    /// file.sync(&mut ms, 0..0x1000)?;
    /// assert!(vm.platform().files.of(1).starts_with(b"stored"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync(&self, ms: &mut MaySleep, bytes: Range<u64>) -> Result<(), Error> {
        if self.pager() == 0 {
            return Ok(());
        }
        let end = bytes.end.div_ceil(<P::Format as Geometry>::PAGE_SIZE);
        let mut from = bytes.start >> P::Format::PAGE_SHIFT;
        let mut result = self.body().take_error().map_or(Ok(()), |error| Err(Error::Pager(error)));
        while let Some(index) = pages::next(self.vm, self.body(), from).filter(|at| *at < end) {
            let written = self.sync_page(ms, index);
            result = result.and(written.map_err(Error::Pager));
            from = index + 1;
        }
        result
    }

    fn sync_page(&self, ms: &mut MaySleep, index: u64) -> Result<(), PagerError> {
        let (vm, object) = (self.vm, self.body());
        // A write that goes to the pager meanwhile would be overtaken by what is older.
        object.writers.with(vm.platform(), || {
            let Some(frame) = pages::find(vm, object, index) else { return Ok(()) };
            let mapped = mappers::clean(vm, ms, frame);
            let meta = vm.meta_of(frame);
            let dirty = take_dirty(meta) || mapped;
            let written = if dirty { page_out(vm, ms, object, index, frame) } else { Ok(()) };
            if written.is_err() {
                mark_dirty(meta);
            }
            rmap::put_page(vm, frame);
            written
        })
    }
}

fn page_out<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: &Body,
    index: u64,
    frame: Frame,
) -> Result<(), PagerError> {
    let bytes = valid_bytes::<P>(object, index);
    if bytes == 0 {
        return Ok(());
    }
    vm.count(Event::PageOut, 1);
    let page = Page::new(frame, vm.bytes(frame));
    ms.in_driver(|ms| vm.platform().pager().page_out(ms, object.pager(), index, page, bytes))
}

/// How many bytes of page `index` lie within the object.
fn valid_bytes<P: Platform>(object: &Body, index: u64) -> usize {
    let before = index << P::Format::PAGE_SHIFT;
    object.len().saturating_sub(before).min(<P::Format as Geometry>::PAGE_SIZE) as usize
}

/// Hands a page that nobody maps to the pager, for who steals it. An error is told to who syncs next.
pub(super) fn try_hand_over<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: &Body,
    index: u64,
    frame: Frame,
) -> Result<(), Refusal> {
    if ms.is_in_driver() {
        return Err(Refusal::Kept);
    }
    // Who has it may be waiting for memory.
    let _writers = object.writers.try_acquire(vm.platform()).ok_or(Refusal::Busy)?;
    // What was cut off meanwhile is older than what has come in its place.
    if !pages::holds(vm, object, index, frame) {
        return Err(Refusal::Busy);
    }
    let meta = vm.meta_of(frame);
    take_dirty(meta);
    page_out(vm, ms, object, index, frame).map_err(|error| {
        mark_dirty(meta);
        object.note_error(error);
        Refusal::Kept
    })
}

/// Hands what is dirty of an object that nothing refers to any more to the pager.
pub(super) fn hand_over<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep, object: &Body) {
    let mut from = 0;
    while let Some(index) = pages::next(vm, object, from) {
        if let Some(frame) = pages::find(vm, object, index) {
            if take_dirty(vm.meta_of(frame)) {
                // Nobody is left who could be told.
                let _ = page_out(vm, ms, object, index, frame);
            }
            rmap::put_page(vm, frame);
        }
        from = index + 1;
    }
}
