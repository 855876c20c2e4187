//! The x86_64 crate's MappedPageTable, physical addresses being pointers.

use super::{PAGE, Rival, table_page};
use std::hint::black_box;
use x86_64::structures::paging::mapper::{Mapper, PageTableFrameMapping};
use x86_64::structures::paging::{
    FrameAllocator, MappedPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

struct Identity;

// SAFETY: tables lie where their addresses point: `Memory` made them so.
unsafe impl PageTableFrameMapping for Identity {
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        frame.start_address().as_u64() as *mut PageTable
    }
}

struct Memory;

// SAFETY: each frame is a page of its own.
unsafe impl FrameAllocator<Size4KiB> for Memory {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        Some(PhysFrame::containing_address(PhysAddr::new(table_page() as u64)))
    }
}

pub struct Table(MappedPageTable<'static, Identity>);

const READ: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::USER_ACCESSIBLE);
const RW: PageTableFlags = READ.union(PageTableFlags::WRITABLE);

fn at(page: u64) -> Page<Size4KiB> {
    Page::containing_address(VirtAddr::new(page * PAGE))
}

impl Default for Table {
    fn default() -> Table {
        // SAFETY: a page of zeros is a table, and nobody else's.
        let root = unsafe { &mut *(table_page() as *mut PageTable) };
        // SAFETY: as `Identity` says.
        Table(unsafe { MappedPageTable::new(root, Identity) })
    }
}

impl Rival for Table {
    fn map(&mut self, page: u64) {
        let frame = PhysFrame::containing_address(PhysAddr::new(page * PAGE));
        // SAFETY: no processor walks these tables.
        let mapped = unsafe { self.0.map_to(at(page), frame, RW, &mut Memory) };
        mapped.expect("it is free").ignore();
    }

    fn translate(&self, page: u64) {
        black_box(self.0.translate_page(at(page)).expect("it is mapped"));
    }

    fn protect(&mut self, page: u64) {
        // SAFETY: as in `map`.
        unsafe { self.0.update_flags(at(page), READ) }.expect("it is mapped").ignore();
    }

    fn unmap(&mut self, page: u64) {
        self.0.unmap(at(page)).expect("it is mapped").1.ignore();
    }
}
