//! What waits in a hart's mailbox to be forgotten.
//!
//! Guarantee: bounded, and allocates nothing after it is made. What does not fit is widened, never
//! lost: pages to their whole space, spaces to everything.

use vmspace::flush::BATCH_PAGES;
use vmspace::{Shot, SpaceId};

/// Pages that one mailbox names: a few full batches, for a hart that stays outside a while.
const PAGES: usize = 4 * BATCH_PAGES;
/// Whole spaces that one mailbox names.
const SPACES: usize = 16;

/// A list of what to forget. The default one has no room: a stand-in, never posted to.
#[derive(Debug, Default)]
pub struct Mailbox {
    pages: Vec<(SpaceId, u64)>,
    spaces: Vec<SpaceId>,
    everything: bool,
}

impl Mailbox {
    /// An empty one, with all the room that it will ever have.
    pub fn new() -> Mailbox {
        Mailbox {
            pages: Vec::with_capacity(PAGES),
            spaces: Vec::with_capacity(SPACES),
            everything: false,
        }
    }

    /// Adds pages of `space`.
    pub fn add_pages(&mut self, space: SpaceId, pages: &[Shot]) {
        if self.pages.len() + pages.len() > PAGES {
            self.add_space(space);
        } else {
            self.pages.extend(pages.iter().map(|shot| (space, shot.page)));
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
    pub fn add_space(&mut self, space: SpaceId) {
        if self.spaces.contains(&space) {
            return;
        }
        if self.spaces.len() == SPACES {
            self.everything = true;
        } else {
            self.spaces.push(space);
        }
    }

    /// Whether all of every space is to be forgotten.
    pub fn everything(&self) -> bool {
        self.everything
    }

    /// The spaces to be forgotten whole.
    pub fn spaces(&self) -> &[SpaceId] {
        &self.spaces
    }

    /// The pages to be forgotten.
    pub fn pages(&self) -> &[(SpaceId, u64)] {
        &self.pages
    }

    /// Empties it, keeping its room.
    pub fn clear(&mut self) {
        self.pages.clear();
        self.spaces.clear();
        self.everything = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmspace::Frame;

    #[test]
    fn what_does_not_fit_is_widened_and_nothing_grows() {
        let mut mailbox = Mailbox::new();
        let capacity = (mailbox.pages.capacity(), mailbox.spaces.capacity());
        let batch: Vec<_> = (0..64).map(|page| Shot { page, frame: Frame(0) }).collect();
        for _ in 0..4 {
            mailbox.add_pages(SpaceId(1), &batch);
        }
        assert!(mailbox.pages().len() == PAGES && mailbox.spaces().is_empty());
        mailbox.add_page(SpaceId(2), 7);
        mailbox.add_pages(SpaceId(2), &batch[..1]);
        assert_eq!(mailbox.spaces(), [SpaceId(2)]);
        for space in 0..SPACES as u64 {
            mailbox.add_space(SpaceId(space));
        }
        assert!(!mailbox.everything());
        mailbox.add_space(SpaceId(99));
        assert!(mailbox.everything());
        assert_eq!(capacity, (mailbox.pages.capacity(), mailbox.spaces.capacity()));
        mailbox.clear();
        assert!(mailbox.pages().is_empty() && mailbox.spaces().is_empty());
    }
}
