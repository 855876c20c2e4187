//! How a hart answers shootdowns.
//!
//! Guarantee: when the answer is out, nothing that was named is kept. Pages that are named go;
//! pointers to tables go only where tables were unlinked; of a space that is not loaded all goes, and
//! the hart leaves its set.

use super::{Manager, Mmu};
use crate::adversary::Adversary;
use crate::shootdown::Port;
use crate::tlb::ids::Id;
use vmspace::SpaceId;

impl<'m, V: Manager> Mmu<'m, V> {
    /// This hart's end of the shootdowns.
    #[inline(always)]
    pub(crate) fn port(&self) -> &'m Port {
        self.port
    }

    /// Drops all that is posted, and says so: at poll points and on the way in.
    pub fn answer(&mut self) {
        let door = &self.port().door;
        if !door.is_pending() {
            return;
        }
        let mut mail = std::mem::take(&mut self.mail);
        let drained = door.drain(&mut mail);
        if mail.everything() {
            self.drop_everything();
        }
        for space in mail.spaces() {
            self.drop_space(*space);
        }
        for space in mail.tables() {
            self.drop_tables(*space);
        }
        for (space, page) in mail.pages() {
            self.drop_page(*space, *page);
        }
        mail.clear();
        self.mail = mail;
        door.answer(drained);
    }

    /// At a poll point where something is pending: whether it is put off to a later one.
    pub(crate) fn postpones(&mut self) -> bool {
        self.adversary.as_mut().is_some_and(Adversary::postpones)
    }

    fn drop_page(&mut self, space: SpaceId, page: u64) {
        match self.ids.find(space) {
            Some(id) if self.is_loaded(id) => {
                self.code_epoch += u64::from(self.tlb.may_hold_code(id, page));
                self.tlb.drop_page(id, page);
                self.counts.pages_dropped += 1;
            }
            Some(id) => self.leave(id, space),
            None => {}
        }
    }

    fn drop_space(&mut self, space: SpaceId) {
        match self.ids.find(space) {
            Some(id) if self.is_loaded(id) => {
                self.code_epoch += 1;
                self.tlb.drop_pages(id);
                self.counts.spaces_dropped += 1;
            }
            Some(id) => self.leave(id, space),
            None => {}
        }
    }

    fn drop_tables(&mut self, space: SpaceId) {
        match self.ids.find(space) {
            Some(id) if self.is_loaded(id) => self.tlb.drop_tables(id),
            Some(id) => self.leave(id, space),
            None => {}
        }
    }

    pub(super) fn drop_everything(&mut self) {
        self.code_epoch += 1;
        self.tlb.drop_all();
        let others: Vec<_> = self.ids.iter().filter(|(id, _)| !self.is_loaded(*id)).collect();
        for (id, space) in others {
            self.leave(id, space);
        }
        self.counts.spaces_dropped += 1;
    }

    fn is_loaded(&self, id: Id) -> bool {
        self.loaded.is_some_and(|loaded| loaded.id == id)
    }

    /// Drops all that is kept under an identifier that is not loaded, and leaves its space.
    fn leave(&mut self, id: Id, space: SpaceId) {
        self.tlb.drop_id(id);
        self.leave_set(space);
        // Last: whoever ends the space and does not find it here any more waits for nobody.
        self.ids.release(id);
        self.counts.spaces_left += 1;
    }

    /// Takes the hart out of the set of a space of which it has dropped all.
    pub(super) fn leave_set(&self, space: SpaceId) {
        // First: whoever does not find the hart in the set any more strikes out nothing of its.
        if let Some(ledger) = self.manager.hardware().shootdowns().ledger() {
            ledger.forget(self.hart, space);
        }
        self.manager.leave(space, self.hart);
    }
}
