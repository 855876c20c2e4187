//! read(2) and write(2) of an object.
//!
//! Guarantee: both see what mappings see. A write to an object with a pager goes through: the pager
//! is given the bytes first, so that a full disk is known now; then the pages that are in memory
//! are brought up to date, and those that are being filled are filled again. It needs no memory.
//! Writes, truncations and the handing over of pages to the pager are ordered by the object's lock
//! of writers; reads and faults never wait for it.

use super::bring::{Reach, get};
use super::pages::Look;
use super::{MOST_BYTES, Object, mark_dirty, page, pages};
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry};
use crate::pager::{Page, Pager};
use crate::platform::Platform;
use crate::rmap;
use crate::sync::Ordering;

/// A part of a transfer that lies in one page.
struct Part {
    index: u64,
    within: usize,
    /// Its bytes of the caller's.
    bytes: core::ops::Range<usize>,
}

/// The parts of `length` bytes from byte `offset` on.
fn parts<F: Format>(offset: u64, length: usize) -> impl Iterator<Item = Part> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let at = offset.checked_add(done as u64).filter(|_| done < length)?;
        let within = (at & (F::PAGE_SIZE - 1)) as usize;
        let end = length.min(done + F::PAGE_SIZE as usize - within);
        let part = Part { index: at >> F::PAGE_SHIFT, within, bytes: done..end };
        done = end;
        Some(part)
    })
}

impl<P: Platform> Object<'_, P> {
    /// Copies from byte `offset` on; how many bytes, fewer than asked for at the end.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Pager`]; what was copied before an error is a short count.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let object = vm.object(&mut ms, 0x2000, 0)?;
    ///
    /// object.write(&mut ms, 0x1ffc, b"last")?;
    /// let mut found = [b'.'; 8];
    /// assert_eq!(object.read(&mut ms, 0x1ffc, &mut found)?, 4); // up to the end
    /// assert_eq!(&found, b"last....");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&self, ms: &mut MaySleep, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        for part in parts::<P::Format>(offset, into.len()) {
            match self.read_part(ms, offset, &part, into) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn read_part(
        &self,
        ms: &mut MaySleep,
        offset: u64,
        part: &Part,
        into: &mut [u8],
    ) -> Result<usize, Error> {
        let (before, from) = (self.len(), offset + part.bytes.start as u64);
        // Nothing is brought for who reads at the end.
        if from >= before {
            return Ok(0);
        }
        let held = if self.pager() == 0 {
            // What was never touched is not made by reading.
            match pages::look(self.vm, self.body(), part.index) {
                Look::Page(frame) => Some(frame),
                Look::Swapped => get(self.vm, ms, self.address, part.index, Reach::Within)?
                    .map(|cached| cached.frame),
                Look::Nothing => None,
            }
        } else {
            page(self.vm, ms, self.address, part.index)?.map(|cached| cached.frame)
        };
        // The length before and after: what was cut off or added meanwhile is not read.
        let end = before.min(self.len());
        let left = end.saturating_sub(from);
        let length = part.bytes.len().min(left as usize);
        let into = &mut into[part.bytes.start..][..length];
        match held {
            None => into.fill(0),
            Some(frame) => {
                Page::new(frame, self.vm.bytes(frame)).read(part.within, into);
                rmap::put_page(self.vm, frame);
            }
        }
        Ok(length)
    }

    /// Copies to byte `offset` on; how many bytes. The object grows if it ends there.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::TooLarge`], [`Error::Pager`]; what was written before an
    /// error is a short count.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let object = vm.object(&mut ms, 0x2000, 0)?;
    ///
    /// assert_eq!(object.write(&mut ms, 0x1ffe, b"grows")?, 5);
    /// assert_eq!(object.len(), 0x2003);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(&self, ms: &mut MaySleep, offset: u64, from: &[u8]) -> Result<usize, Error> {
        if from.is_empty() {
            return Ok(0);
        }
        let room = MOST_BYTES.saturating_sub(offset).min(from.len() as u64);
        if room == 0 {
            return Err(Error::TooLarge);
        }
        let from = &from[..room as usize];
        self.body().writers.with(self.vm.platform(), || {
            // What user code has stored beyond the end does not become a part of the object.
            self.zero_tail_before(ms, offset + room)?;
            if self.pager() == 0 {
                self.write_memory(ms, offset, from)
            } else {
                self.write_through(ms, offset, from)
            }
        })
    }

    fn write_memory(&self, ms: &mut MaySleep, offset: u64, from: &[u8]) -> Result<usize, Error> {
        let mut done = 0;
        for part in parts::<P::Format>(offset, from.len()) {
            match get(self.vm, ms, self.address, part.index, Reach::Beyond) {
                Ok(Some(cached)) => self.update(cached.frame, &part, from),
                Ok(None) => break,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            done = part.bytes.end;
            self.reach(offset + done as u64);
        }
        Ok(done)
    }

    fn write_through(&self, ms: &mut MaySleep, offset: u64, from: &[u8]) -> Result<usize, Error> {
        let (vm, object) = (self.vm, self.body());
        let pager = vm.platform().pager();
        let done = ms.in_driver(|ms| pager.write(ms, object.pager(), offset, from));
        let done = done.map_err(Error::Pager)?.min(from.len());
        for part in parts::<P::Format>(offset, done) {
            if let Some(frame) = pages::find_or_renew(vm, object, part.index) {
                self.update(frame, &part, from);
            }
        }
        self.reach(offset + done as u64);
        Ok(done)
    }

    /// Copies a part to its page, and gives the reference to that back.
    fn update(&self, frame: Frame, part: &Part, from: &[u8]) {
        let page = Page::new(frame, self.vm.bytes(frame));
        page.write(part.within, &from[part.bytes.clone()]);
        self.note_written(frame);
        rmap::put_page(self.vm, frame);
    }

    /// The object is at least this long. The lock of writers is held.
    fn reach(&self, bytes: u64) {
        if bytes > self.len() {
            // Release: what was written is seen by who sees the length.
            self.body().bytes.store(bytes, Ordering::Release);
        }
    }

    /// Zeros what lies beyond the end in the last page, if the object is going to reach `bytes`.
    /// The lock of writers is held.
    pub(super) fn zero_tail_before(&self, ms: &mut MaySleep, bytes: u64) -> Result<(), Error> {
        let held = if bytes > self.len() { self.hold_tail(ms, self.len())? } else { None };
        if let Some(frame) = held {
            self.zero_tail();
            rmap::put_page(self.vm, frame);
        }
        Ok(())
    }

    /// The page that byte `bytes` lies inside, if there is something in it, so that it stays.
    ///
    /// # Errors
    /// It is on swap, and cannot be brought.
    pub(super) fn hold_tail(&self, ms: &mut MaySleep, bytes: u64) -> Result<Option<Frame>, Error> {
        let index = bytes >> P::Format::PAGE_SHIFT;
        if bytes.is_multiple_of(<P::Format as Geometry>::PAGE_SIZE) {
            return Ok(None);
        }
        Ok(match pages::look(self.vm, self.body(), index) {
            Look::Page(frame) => Some(frame),
            Look::Swapped => {
                get(self.vm, ms, self.address, index, Reach::Within)?.map(|cached| cached.frame)
            }
            Look::Nothing => None,
        })
    }

    /// Zeros what lies beyond the end in the last page, if that is in memory.
    pub(super) fn zero_tail(&self) {
        let within = self.len() & (<P::Format as Geometry>::PAGE_SIZE - 1);
        let index = self.len() >> P::Format::PAGE_SHIFT;
        if within != 0
            && let Some(frame) = pages::find(self.vm, self.body(), index)
        {
            Page::new(frame, self.vm.bytes(frame)).zero_from(within as usize);
            self.note_written(frame);
            rmap::put_page(self.vm, frame);
        }
    }

    /// The page was written by a call. A pager has been told before; memory is told from zeros, and
    /// from what is on swap.
    fn note_written(&self, frame: Frame) {
        if self.pager() == 0 {
            mark_dirty(self.vm.meta_of(frame));
        }
    }
}
