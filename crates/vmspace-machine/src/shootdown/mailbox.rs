//! What waits in a hart's mailbox to be forgotten.
//!
//! Guarantee: bounded, and allocates nothing after it is made. What does not fit is widened, never
//! lost: pages to their whole space, spaces to everything. Pointers to tables are dropped only for
//! spaces that are named for it.

use vmspace::flush::BATCH_PAGES;
use vmspace::{Batch, SpaceId};

/// Pages that one mailbox names: a few full batches, for a hart that stays outside a while.
const PAGES: usize = 4 * BATCH_PAGES;
/// Whole spaces that one mailbox names.
const SPACES: usize = 16;

/// A list of what to forget. The default one has no room: a stand-in, never posted to.
#[derive(Debug, Default)]
pub struct Mailbox {
    pages: Vec<(SpaceId, u64)>,
    spaces: Vec<SpaceId>,
    /// Spaces of which tables were unlinked.
    tables: Vec<SpaceId>,
    everything: bool,
}

impl Mailbox {
    /// An empty one, with all the room that it will ever have.
    pub fn new() -> Mailbox {
        Mailbox {
            pages: Vec::with_capacity(PAGES),
            spaces: Vec::with_capacity(SPACES),
            tables: Vec::with_capacity(SPACES),
            everything: false,
        }
    }

    /// Adds what `batch` names of `space`.
    pub fn add(&mut self, space: SpaceId, batch: &Batch<'_>) {
        match batch.pages {
            Some(pages) if self.pages.len() + pages.len() <= PAGES => {
                self.pages.extend(pages.iter().map(|shot| (space, shot.page)));
            }
            _ => self.add_space(space),
        }
        if batch.tables {
            self.everything |= !push(&mut self.tables, space);
        }
    }

    /// Adds one page of `space`.
    pub fn add_page(&mut self, space: SpaceId, page: u64) {
        if self.pages.len() == PAGES {
            self.add_space(space);
        } else {
            self.pages.push((space, page));
        }
    }

    /// Adds the whole of `space`.
    fn add_space(&mut self, space: SpaceId) {
        self.everything |= !push(&mut self.spaces, space);
    }

    /// Whether all of every space is to be forgotten.
    pub fn everything(&self) -> bool {
        self.everything
    }

    /// The spaces to be forgotten whole.
    pub fn spaces(&self) -> &[SpaceId] {
        &self.spaces
    }

    /// The spaces whose tables are to be forgotten.
    pub fn tables(&self) -> &[SpaceId] {
        &self.tables
    }

    /// The pages to be forgotten.
    pub fn pages(&self) -> &[(SpaceId, u64)] {
        &self.pages
    }

    /// Empties it, keeping its room.
    pub fn clear(&mut self) {
        self.pages.clear();
        self.spaces.clear();
        self.tables.clear();
        self.everything = false;
    }
}

/// Adds a space to a list that has it once; false: there is no room.
fn push(list: &mut Vec<SpaceId>, space: SpaceId) -> bool {
    let known = list.contains(&space);
    if !known && list.len() < SPACES {
        list.push(space);
        return true;
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmspace::{Frame, Shot};

    #[test]
    fn what_does_not_fit_is_widened_and_nothing_grows() {
        let mut mailbox = Mailbox::new();
        let room = |mailbox: &Mailbox| {
            [mailbox.pages.capacity(), mailbox.spaces.capacity(), mailbox.tables.capacity()]
        };
        let before = room(&mailbox);
        let shots: Vec<_> = (0..64).map(|page| Shot { page, frame: Frame(0) }).collect();
        let batch = Batch { pages: Some(&shots), tables: false };
        for _ in 0..4 {
            mailbox.add(SpaceId(1), &batch);
        }
        assert!(mailbox.pages().len() == PAGES && mailbox.spaces().is_empty());
        mailbox.add_page(SpaceId(2), 7);
        mailbox.add(SpaceId(2), &Batch { pages: Some(&shots[..1]), tables: false });
        assert_eq!(mailbox.spaces(), [SpaceId(2)]);
        for space in 0..SPACES as u64 {
            mailbox.add_space(SpaceId(space));
        }
        assert!(!mailbox.everything());
        mailbox.add_space(SpaceId(99));
        assert!(mailbox.everything());
        assert_eq!(before, room(&mailbox));
        mailbox.clear();
        assert!(mailbox.pages().is_empty() && mailbox.spaces().is_empty());
    }

    #[test]
    fn tables_are_named_for_themselves() {
        let mut mailbox = Mailbox::new();
        mailbox.add(SpaceId(1), &Batch { pages: None, tables: false });
        assert!(mailbox.tables().is_empty());
        for space in 0..SPACES as u64 {
            mailbox.add(SpaceId(space), &Batch { pages: Some(&[]), tables: true });
        }
        assert!(mailbox.tables().len() == SPACES && !mailbox.everything());
        mailbox.add(SpaceId(99), &Batch { pages: Some(&[]), tables: true });
        assert!(mailbox.everything());
        mailbox.clear();
        assert!(mailbox.tables().is_empty() && !mailbox.everything());
    }
}
