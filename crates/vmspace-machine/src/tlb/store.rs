//! What stands behind the inline arrays.
//!
//! Guarantee: the sticky store forgets nothing but what it is told to drop; a walk for a page
//! that it holds replaces what it held, as an upgrade does on hardware, and a walk that fails
//! leaves it as it is. The direct store forgets what does not fit, as the inline arrays do.

use super::ids::Id;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use vmspace::Access;
use vmspace::format::{Entry, Format, Leaf};

use crate::walker::permits;

/// A cached translation of one base page: the leaf's word as it was when it was walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cached {
    /// The leaf's word, accessed and dirty as the walk left them.
    pub word: u64,
    /// The leaf's level.
    pub level: usize,
    /// The generation of the page's frame then, where checking mode asks for it.
    pub generation: Option<u64>,
}

impl Cached {
    /// The leaf that was walked.
    pub fn leaf<F: Format>(&self) -> Option<Leaf> {
        match F::decode(self.level, self.word) {
            Entry::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    /// Whether `access` may be served from it: its rights, and for a write that dirty is set
    /// already. If not, the hart walks again, since upgrades send no shootdown.
    pub fn serves<F: Format>(&self, access: Access) -> bool {
        self.leaf::<F>().is_some_and(|leaf| {
            permits(leaf.rights, access) && (access != Access::Write || leaf.dirty)
        })
    }
}

/// Entries of the direct store.
const DIRECT: usize = 1024;

type Pages = HashMap<u64, Cached, BuildHasherDefault<PageHasher>>;

/// The three kinds of store.
#[derive(Debug)]
pub enum Store {
    /// Keeps nothing: the inline arrays are all there is.
    Nothing,
    /// Direct-mapped.
    Direct(Box<[Option<(Id, u64, Cached)>]>),
    /// Unbounded: a map for each identifier.
    Sticky(Vec<Pages>),
}

impl Store {
    /// An empty direct-mapped store.
    pub fn direct() -> Store {
        Store::Direct(vec![None; DIRECT].into_boxed_slice())
    }

    /// An empty store that forgets nothing, for `ids` identifiers.
    pub fn sticky(ids: usize) -> Store {
        Store::Sticky(vec![Pages::default(); ids])
    }

    /// What is kept for `page` under `id`.
    pub fn find(&self, id: Id, page: u64) -> Option<Cached> {
        match self {
            Store::Nothing => None,
            Store::Direct(entries) => entries[slot(page)]
                .filter(|entry| (entry.0, entry.1) == (id, page))
                .map(|entry| entry.2),
            Store::Sticky(maps) => maps[id.index()].get(&page).copied(),
        }
    }

    /// Keeps `cached` for `page` under `id`.
    pub fn insert(&mut self, id: Id, page: u64, cached: Cached) {
        match self {
            Store::Nothing => {}
            Store::Direct(entries) => entries[slot(page)] = Some((id, page, cached)),
            Store::Sticky(maps) => {
                maps[id.index()].insert(page, cached);
            }
        }
    }

    /// Drops what came from leaves at `level` for pages `start..end` under `id`.
    pub fn drop_pages(&mut self, id: Id, start: u64, end: u64, level: usize) {
        let gone =
            |page: u64, cached: &Cached| (start..end).contains(&page) && cached.level == level;
        match self {
            Store::Nothing => {}
            Store::Direct(entries) if end - start == 1 => {
                let entry = &mut entries[slot(start)];
                *entry = entry.filter(|(i, page, cached)| *i != id || !gone(*page, cached));
            }
            Store::Direct(entries) => {
                for entry in entries.iter_mut() {
                    *entry = entry.filter(|(i, page, cached)| *i != id || !gone(*page, cached));
                }
            }
            Store::Sticky(maps) if end - start == 1 => {
                let map = &mut maps[id.index()];
                if map.get(&start).is_some_and(|cached| cached.level == level) {
                    map.remove(&start);
                }
            }
            Store::Sticky(maps) => maps[id.index()].retain(|page, cached| !gone(*page, cached)),
        }
    }

    /// Empties every eighth entry of a direct store, from entry `first`. What is sticky stays.
    pub fn evict(&mut self, first: usize) {
        if let Store::Direct(entries) = self {
            entries.iter_mut().skip(first).step_by(8).for_each(|entry| *entry = None);
        }
    }

    /// Drops all that is kept under `id`.
    pub fn drop_id(&mut self, id: Id) {
        match self {
            Store::Nothing => {}
            Store::Direct(entries) => {
                for entry in entries.iter_mut() {
                    *entry = entry.filter(|entry| entry.0 != id);
                }
            }
            Store::Sticky(maps) => maps[id.index()].clear(),
        }
    }

    /// Drops everything.
    pub fn drop_all(&mut self) {
        match self {
            Store::Nothing => {}
            Store::Direct(entries) => entries.fill(None),
            Store::Sticky(maps) => maps.iter_mut().for_each(Pages::clear),
        }
    }
}

fn slot(page: u64) -> usize {
    page as usize % DIRECT
}

/// Spreads page numbers: one multiplication, since a guest that makes them collide slows only
/// itself down.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, page: u64) {
        self.0 = (self.0 ^ page).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}
