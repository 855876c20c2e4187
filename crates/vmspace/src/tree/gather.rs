//! What an operation has taken away and must shoot down before it releases its locks.
//!
//! Guarantee: a frame gathered here is dropped only after every CPU that could reach it has
//! acknowledged. A gather names at most [`BATCH_PAGES`] pages; beyond that it takes the whole
//! space, and frames beyond that are shot down and dropped in place. It never allocates.

use crate::addr::Frame;
use crate::counters::Event;
use crate::flush::{BATCH_PAGES, Batch, Shot, SpaceId};
use crate::mutation::{self, Mutation};
use crate::object;
use crate::platform::Platform;
use crate::rmap;
use crate::vm::Vm;
use arrayvec::ArrayVec;

/// Translations owed a shootdown, and page references to drop after it.
#[derive(Default)]
pub(crate) struct Gather {
    shots: ArrayVec<Shot, BATCH_PAGES>,
    /// More pages than `shots` holds.
    whole: bool,
    /// Tables were unlinked.
    tables: bool,
    pages: ArrayVec<Frame, BATCH_PAGES>,
    /// Which of them have been written through a translation that is going.
    dirty: u64,
}

const _: () = assert!(BATCH_PAGES <= u64::BITS as usize);

impl Gather {
    /// A translation that must go.
    #[inline]
    pub fn shoot(&mut self, page: u64, frame: Frame) {
        if !self.whole {
            self.whole = self.shots.try_push(Shot { page, frame }).is_err();
        }
    }

    /// More translations than can be named.
    pub fn shoot_all(&mut self) {
        self.whole = true;
    }

    /// How many more pages can be named.
    pub fn room(&self) -> usize {
        self.shots.remaining_capacity()
    }

    /// A table was unlinked.
    pub fn unlinked_table(&mut self) {
        self.tables = true;
    }

    /// A page whose reference goes after the flush; until then it may be written, if its entry was
    /// dirty. There is room unless [`Gather::is_full`].
    #[inline]
    pub fn drop_page(&mut self, frame: Frame, dirty: bool) {
        self.dirty |= u64::from(dirty) << self.pages.len();
        let pushed = self.pages.try_push(frame);
        debug_assert!(pushed.is_ok());
    }

    /// Whether pages are to be dropped.
    pub fn has_pages(&self) -> bool {
        !self.pages.is_empty()
    }

    /// Whether there is no room for another page: flush and drop first.
    pub fn is_full(&self) -> bool {
        self.pages.is_full()
    }

    /// Sends the shootdown, if anything is owed, and waits for all acknowledgements.
    #[inline]
    pub fn flush<P: Platform>(&mut self, vm: &Vm<P>, space: SpaceId, skip: Mutation) {
        if !self.shots.is_empty() || self.whole || self.tables {
            self.send(vm, space, skip);
        }
    }

    fn send<P: Platform>(&mut self, vm: &Vm<P>, space: SpaceId, skip: Mutation) {
        let pages = (!self.whole).then_some(&self.shots[..]);
        let cpus = vm.header(space).active.snapshot();
        if !cpus.is_empty() && !mutation::active(skip) {
            let tables = self.tables && !mutation::active(Mutation::NoTablesInShootdown);
            vm.platform().shootdown(&cpus, space, &Batch { pages, tables });
            vm.count(Event::Shootdown, 1);
            match pages {
                Some(pages) => vm.count(Event::ShootdownPage, pages.len() as u64),
                None => vm.count(Event::ShootdownSpace, 1),
            }
        }
        self.shots.clear();
        (self.whole, self.tables) = (false, false);
    }

    /// Drops the references to the pages gathered. Their translations are gone everywhere.
    #[inline]
    pub fn drop_pages<P: Platform>(&mut self, vm: &Vm<P>) {
        let mut dirty = core::mem::take(&mut self.dirty);
        for frame in self.pages.drain(..) {
            if dirty & 1 != 0 {
                object::mark_dirty(vm.meta_of(frame));
            }
            dirty >>= 1;
            rmap::put_page(vm, frame);
        }
    }
}
