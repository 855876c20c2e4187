//! aarch64-paging's LinearMap, page by page.

use super::{PAGE, Rival};
use aarch64_paging::descriptor::El1Attributes;
use aarch64_paging::linearmap::LinearMap;
use aarch64_paging::paging::{El1And0, MemoryRegion, VaRange};
use std::hint::black_box;

pub struct Table(LinearMap<El1And0>);

const RW: El1Attributes = El1Attributes::VALID.union(El1Attributes::ACCESSED);

fn at(page: u64) -> MemoryRegion {
    MemoryRegion::new((page * PAGE) as usize, ((page + 1) * PAGE) as usize)
}

impl Default for Table {
    fn default() -> Table {
        Table(LinearMap::with_asid(1, 0, 0, El1And0, VaRange::Lower))
    }
}

impl Rival for Table {
    fn map(&mut self, page: u64) {
        self.0.map_range(&at(page), RW).expect("it is free");
    }

    fn translate(&self, page: u64) {
        let mut found = None;
        let walked = self.0.walk_range(&at(page), &mut |_, entry, _| {
            found = Some(entry.output_address());
            Ok(())
        });
        walked.expect("it is mapped");
        black_box(found);
    }

    fn protect(&mut self, page: u64) {
        let change = self.0.modify_range(&at(page), &|_, entry| {
            entry.modify_flags(El1Attributes::READ_ONLY, El1Attributes::empty())
        });
        change.expect("it is mapped");
    }

    fn unmap(&mut self, page: u64) {
        let change = self.0.modify_range(&at(page), &|_, entry| {
            entry.modify_flags(El1Attributes::empty(), El1Attributes::VALID)
        });
        change.expect("it is mapped");
    }
}
