//! Pointers to tables that a hart remembers, so that walks begin lower down.
//!
//! Guarantee: nothing is forgotten but what is told to go. Dropping pages leaves pointers alone:
//! only a shootdown that says that tables were unlinked drops them, with all those of its space.
//!
//! Hardware has such caches, and they go stale: RISC-V privileged ("non-leaf PTEs may be cached", and
//! SFENCE.VMA with an address orders leaf entries alone), Intel SDM 4.10.3 ("Paging-Structure
//! Caches"), Arm ARM D8.16 (intermediate caching of translation table walks; TLBI VALE1 leaves it).
//! Absent entries are not remembered: no format here may cache them.

use super::ids::Id;
use crate::walker::Table;
use std::collections::HashMap;
use std::marker::PhantomData;
use vmspace::Frame;
use vmspace::format::{Format, Geometry};

/// What is remembered, by identifier, level and the bits of the page above the table's span.
#[derive(Debug)]
pub struct Tables<F: Format> {
    maps: Vec<HashMap<(usize, u64), Frame>>,
    format: PhantomData<F>,
}

fn key<F: Format>(level: usize, page: u64) -> (usize, u64) {
    (level, page / F::table_pages(level))
}

impl<F: Format> Tables<F> {
    /// Empty, for `ids` identifiers.
    pub fn new(ids: usize) -> Tables<F> {
        Tables { maps: vec![HashMap::new(); ids], format: PhantomData }
    }

    /// The lowest table over `page` that is remembered under `id`.
    pub fn find(&self, id: Id, page: u64) -> Option<Table> {
        let map = &self.maps[id.index()];
        (0..F::ROOT_LEVEL).find_map(|level| {
            map.get(&key::<F>(level, page)).map(|frame| Table { frame: *frame, level })
        })
    }

    /// Remembers a table over `page`.
    pub fn insert(&mut self, id: Id, page: u64, table: Table) {
        self.maps[id.index()].insert(key::<F>(table.level, page), table.frame);
    }

    /// Drops all that is kept under `id`.
    pub fn drop_id(&mut self, id: Id) {
        self.maps[id.index()].clear();
    }

    /// Drops everything.
    pub fn drop_all(&mut self) {
        self.maps.iter_mut().for_each(HashMap::clear);
    }
}
