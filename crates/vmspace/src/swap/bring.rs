//! Pages brought back from swap.
//!
//! Guarantee: who brings the page of a slot holds the slot, so its device has it, or the cache.
//! Several may read a slot at once; one frame goes into the cache, and all get that one. Read-ahead
//! brings what was stored next, as long as that is easy, and only for one who reads slot after slot:
//! who faults at random would have memory filled with what he does not want.

use super::area::Place;
use super::device::SwapDevices;
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::counters::Event;
use crate::error::Error;
use crate::frame::meta::Kind;
use crate::pager::{Page, PagerError};
use crate::platform::Platform;
use crate::rmap;
use crate::vm::Vm;

/// How many slots are brought together for one who reads slot after slot.
const AHEAD: u64 = 8;

impl<P: Platform> Vm<P> {
    /// The page of a slot that the caller holds, with a reference; read if need be, and perhaps what
    /// follows. The caller holds no lock.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Pager`].
    pub(crate) fn bring_from_swap(&self, ms: &mut MaySleep, place: Place) -> Result<Frame, Error> {
        loop {
            if let Some(page) = self.find_in_slot(place) {
                return Ok(page);
            }
            let frame = self.reclaiming(ms, |_| self.take_frame(Kind::Page))?;
            let Some(page) = self.fill_from_slot(ms, place, frame)? else { continue };
            self.read_ahead_on_swap(ms, place);
            return Ok(page);
        }
    }

    /// Fills a frame of the caller's from the device and puts it into the slot's cache. None: a page
    /// is there meanwhile.
    fn fill_from_slot(
        &self,
        ms: &mut MaySleep,
        place: Place,
        frame: Frame,
    ) -> Result<Option<Frame>, Error> {
        if let Err(error) = self.read_slot(ms, place, frame) {
            self.give_frame(frame);
            return Err(Error::Pager(error));
        }
        let meta = self.meta_of(frame);
        rmap::init_swapped(meta, place);
        meta.refs.get();
        let refaults = self.note_refault(meta, place);
        if self.put_in_slot(place, frame) {
            self.count(Event::SwapIn, 1);
            self.count(Event::Refault, u64::from(refaults));
            return Ok(Some(frame));
        }
        rmap::put_page(self, frame);
        rmap::put_page(self, frame);
        Ok(None)
    }

    /// Reads a slot that the caller holds into a frame that nobody else can reach.
    pub(crate) fn read_slot(
        &self,
        ms: &mut MaySleep,
        place: Place,
        frame: Frame,
    ) -> Result<(), PagerError> {
        let device = self.area(place.area).ok_or(PagerError::Failed)?.device();
        let page = Page::new(frame, self.bytes(frame));
        ms.in_driver(|ms| self.platform().swap().read(ms, device, place.slot, page))
    }

    /// Writes a page that nobody changes to a slot that the caller holds.
    pub(crate) fn write_slot(
        &self,
        ms: &mut MaySleep,
        place: Place,
        frame: Frame,
    ) -> Result<(), PagerError> {
        let area = self.area(place.area).ok_or(PagerError::Failed)?;
        let page = Page::new(frame, self.bytes(frame));
        let device = area.device();
        let written = ms.in_driver(|ms| self.platform().swap().write(ms, device, place.slot, page));
        match written {
            Ok(()) => self.count(Event::SwapOut, 1),
            Err(PagerError::Full) => area.fill(self.generation_now()),
            Err(_) => area.fail(),
        }
        written
    }

    fn read_ahead_on_swap(&self, ms: &mut MaySleep, place: Place) {
        let area = self.area(place.area).filter(|area| area.is_sound());
        let Some(area) = area.filter(|area| area.was_expected(place.slot, AHEAD)) else { return };
        for slot in place.slot + 1..area.slots().min(place.slot + AHEAD) {
            let next = Place { slot, ..place };
            let held = self.try_hold_slot(&self.walk(ms), next);
            if !held {
                continue;
            }
            let easy = self.bring_ahead_on_swap(ms, next);
            self.put_slot(next);
            if easy.is_none() {
                return;
            }
        }
    }

    /// None: there is no memory, or the device fails.
    fn bring_ahead_on_swap(&self, ms: &mut MaySleep, place: Place) -> Option<()> {
        if self.is_in_slot(place) {
            return Some(());
        }
        let frame = self.take_frame(Kind::Page)?;
        if let Some(page) = self.fill_from_slot(ms, place, frame).ok()? {
            rmap::put_page(self, page);
        }
        Some(())
    }
}
