//! Guest-physical memory: from a frame to host memory.
//!
//! Guarantee: the frames of a [`Memory`] are zero at first, contiguous in host memory, aligned to
//! the page, and stay where they are as long as it lives. Host memory is taken only for frames
//! that are touched.
//!
//! Memory begins at [`START`], where boards put it, so that a word of zeros in a table can never
//! name a frame. What lies in a frame is shared by library, walkers and programs: this module
//! hands out pointers, and entries of tables as atomics; it never reads or writes a byte itself.

use crate::config::MachineError;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::Range;
use vmspace::format::{Format, Geometry};
use vmspace::{Cell, Frame};

/// The physical address at which memory begins.
pub const START: u64 = 0x8000_0000;

/// The largest page that a format has; the memory is aligned to it.
const ALIGNMENT: usize = 64 << 10;

/// A machine's memory.
#[derive(Debug)]
pub struct Memory {
    /// What the host gave.
    allocation: *mut u8,
    layout: Layout,
    /// The first aligned byte of it: physical address [`START`].
    base: *mut u8,
    bytes: u64,
}

// SAFETY: the pointers name memory that this value owns until it is dropped; through `&self` only
// pointers and atomics are handed out.
unsafe impl Sync for Memory {}
// SAFETY: as above; the allocation is bound to no thread.
unsafe impl Send for Memory {}

impl Memory {
    /// Memory of `bytes` bytes, rounded down to whole pages of any format.
    ///
    /// # Errors
    /// [`MachineError::TooLarge`] when the host has less; [`MachineError::Refused`] when it has as
    /// much and does not give it.
    pub fn new(bytes: u64) -> Result<Memory, MachineError> {
        let host = host_memory();
        if bytes > host {
            return Err(MachineError::TooLarge { asked: bytes, host });
        }
        let refused = MachineError::Refused { asked: bytes };
        let usable = bytes as usize & !(ALIGNMENT - 1);
        // A small alignment, and the rest by hand: zeroed memory of a large alignment would be
        // zeroed by touching it, where this comes untouched from the host.
        let layout = Layout::from_size_align(usable + ALIGNMENT, 16).map_err(|_| refused)?;
        // SAFETY: the size is at least ALIGNMENT, so not zero.
        let allocation = unsafe { alloc_zeroed(layout) };
        if allocation.is_null() {
            return Err(refused);
        }
        // SAFETY: the offset is below ALIGNMENT, which the size has room for.
        let base = unsafe { allocation.add(allocation.align_offset(ALIGNMENT)) };
        Ok(Memory { allocation, layout, base, bytes: usable as u64 })
    }

    /// The frames that there are.
    pub fn frames<F: Format>(&self) -> Range<u64> {
        START >> F::PAGE_SHIFT..(START + self.bytes) >> F::PAGE_SHIFT
    }

    /// Where a frame's bytes are. For a frame that is none of this memory's, a pointer that must
    /// not be used.
    #[inline(always)]
    pub fn frame_ptr<F: Format>(&self, frame: Frame) -> *mut u8 {
        self.base.wrapping_add((frame.0 << F::PAGE_SHIFT).wrapping_sub(START) as usize)
    }

    /// Where a frame's bytes are, if it is one of this memory's: for frames that come out of
    /// tables, which the machine does not trust.
    #[inline]
    pub fn get<F: Format>(&self, frame: Frame) -> Option<*mut u8> {
        self.frames::<F>().contains(&frame.0).then(|| self.frame_ptr::<F>(frame))
    }

    /// An entry of a table, which may have several pages, if its frame is one of this memory's.
    #[inline]
    pub fn cell<F: Format>(&self, table: Frame, index: usize) -> Option<&F::Cell> {
        let in_page = F::PAGE_SIZE as usize / F::Cell::BYTES;
        let page = self.get::<F>(Frame(table.0.wrapping_add((index / in_page) as u64)))?;
        // SAFETY: the frame is a whole page of memory that lives as long as `self`, and as many
        // entries fit. Others reach the entries of tables as atomics too; a program that writes
        // here through a stale translation is what the machine is there to catch, and does so by
        // relaxed atomics.
        Some(unsafe { &*page.cast::<F::Cell>().add(index % in_page) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout, and nothing outlives the machine.
        unsafe { dealloc(self.allocation, self.layout) }
    }
}

/// Bytes of memory that the host has for us: its own, or its control group's limit if that is
/// less. Everything, where it does not say.
pub fn host_memory() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
    });
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    total.unwrap_or(u64::MAX).min(limit.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmspace::format::{Aarch64Granule64K, Sv39x4, Sv48};

    #[test]
    fn frames_are_contiguous_zeroed_and_checked() {
        let memory = Memory::new((1 << 20) + 17).unwrap();
        assert_eq!(memory.frames::<Sv48>(), 0x80000..0x80100);
        assert_eq!(memory.frames::<Aarch64Granule64K>(), 0x8000..0x8010);
        let first = memory.frame_ptr::<Sv48>(Frame(0x80000));
        assert_eq!(first.align_offset(ALIGNMENT), 0);
        assert_eq!(memory.frame_ptr::<Sv48>(Frame(0x80001)), first.wrapping_add(4096));
        // SAFETY: the last frame's last byte, which nobody else uses.
        assert_eq!(unsafe { *memory.frame_ptr::<Sv48>(Frame(0x800ff)).add(4095) }, 0);
        assert!(memory.get::<Sv48>(Frame(0x800ff)).is_some());
        assert!(memory.get::<Sv48>(Frame(0x80100)).is_none());
        assert!(memory.get::<Sv48>(Frame(0)).is_none());
        assert!(memory.cell::<Sv48>(Frame(u64::MAX), 0).is_none());
        // A table of four pages that begins on the last.
        assert!(memory.cell::<Sv39x4>(Frame(0x800ff), 511).is_some());
        assert!(memory.cell::<Sv39x4>(Frame(0x800ff), 512).is_none());
    }

    #[test]
    fn more_than_the_host_has_is_refused() {
        let error = Memory::new(1 << 60).unwrap_err();
        assert!(matches!(error, MachineError::TooLarge { .. }), "{error}");
    }
}
