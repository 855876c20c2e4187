//! Memory without sleeping: frames, and blocks for the library's own structures.
//!
//! Guarantee: `None` means that nothing is left and nothing has changed; what is given back is used
//! again at once, so nobody may be able to reach it any more.

use super::Vm;
use crate::addr::Frame;
use crate::format::{Format, Geometry};
use crate::frame::meta::{Kind, Meta};
use crate::frame::slab::{self, FrameSource};
use crate::mutation;
use crate::platform::Platform;

impl<P: Platform> Vm<P> {
    /// A frame of that kind, if one is free. Its contents are whatever they were.
    #[inline]
    pub(crate) fn take_frame(&self, kind: Kind) -> Option<Frame> {
        let frame = self.take(0)?;
        self.meta_of(frame).become_kind(kind);
        Some(frame)
    }

    /// The frames of a table at `level`: they follow one another, aligned to its size. Their contents
    /// are whatever they were.
    pub(crate) fn take_table(&self, level: usize) -> Option<Frame> {
        let table = self.take(P::Format::table_order(level))?;
        self.meta_of(table).become_kind(Kind::Table);
        Some(table)
    }

    /// Gives back a table of `1 << order` frames that nobody can reach.
    pub(crate) fn give_table(&self, table: Frame, order: u32) {
        self.meta_of(table).become_kind(Kind::Free);
        self.give(table, order);
    }

    #[inline]
    fn take(&self, order: u32) -> Option<Frame> {
        if mutation::allocation_fails() {
            return None;
        }
        let cpu = self.cpu();
        let here = self.frames.allocate_here(cpu, order);
        let frame = here.or_else(|| self.take_elsewhere(cpu, order))?;
        Some(frame.add(self.managed.start))
    }

    /// Takes frames where the CPU has taken none yet. Where it finds no area with room for a while, it
    /// is looked how much is left.
    #[cold]
    fn take_elsewhere(&self, cpu: usize, order: u32) -> Option<Frame> {
        let before = self.frames.area_of(cpu);
        let frame = self.frames.allocate_elsewhere(cpu, order);
        let area = self.frames.area_of(cpu);
        if frame.is_none() || area != before && self.frames.has_little(area) {
            self.note_shortage();
        }
        frame
    }

    /// Gives back a frame that nobody can reach.
    pub(crate) fn give_frame(&self, frame: Frame) {
        self.meta_of(frame).become_kind(Kind::Free);
        self.give(frame, 0);
    }

    fn give(&self, frame: Frame, order: u32) {
        self.frames.free(self.cpu(), Frame(frame.0 - self.managed.start), order);
    }

    /// Memory of `1 << log2` bytes (at least 32) for the library's own structures, or none.
    pub(crate) fn take_block(&self, log2: u32) -> Option<u64> {
        if log2 <= slab::LARGEST {
            return if mutation::allocation_fails() {
                None
            } else {
                self.slab.allocate(self, 1 << log2)
            };
        }
        let frame = self.take(Self::block_order(log2))?;
        self.meta_of(frame).become_kind(Kind::Own);
        Some(frame.0 << P::Format::PAGE_SHIFT)
    }

    /// Gives back memory that nobody can reach.
    pub(crate) fn give_block(&self, address: u64, log2: u32) {
        if log2 <= slab::LARGEST {
            // SAFETY: the caller had it from `take_block`, and nobody can reach it any more.
            unsafe { self.slab.free(self, address) };
        } else {
            let frame = Frame(address >> P::Format::PAGE_SHIFT);
            self.meta_of(frame).become_kind(Kind::Free);
            self.give(frame, Self::block_order(log2));
        }
    }

    /// The order of the frames that a block too large for the slab takes.
    fn block_order(log2: u32) -> u32 {
        log2.saturating_sub(P::Format::PAGE_SHIFT)
    }
}

// SAFETY: frames come from the allocator, which hands each out once; their bytes and metadata are
// the platform's and this manager's, at fixed places, and pages are 4 KiB at least in every format.
unsafe impl<P: Platform> FrameSource for Vm<P> {
    const PAGE_SHIFT: u32 = P::Format::PAGE_SHIFT;

    fn take(&self) -> Option<Frame> {
        Vm::take(self, 0)
    }

    fn give(&self, frame: Frame) {
        self.give_frame(frame);
    }

    fn meta(&self, frame: Frame) -> &Meta {
        self.meta_of(frame)
    }

    fn ptr(&self, frame: Frame) -> *mut u8 {
        self.platform.frame_ptr(frame)
    }

    fn cpu(&self) -> usize {
        Vm::cpu(self)
    }
}
