//! Which space a hart has loaded.
//!
//! A space's life on a hart: `enter` sets the hart's bit in the space's set, then the root is
//! loaded under an identifier, and walks may begin. A switch to another space flushes nothing. The
//! hart leaves the set only after it has dropped all that it kept under the identifier: when the
//! identifier is taken for another space, or when a shootdown names the space while another is
//! loaded (it will not be interrupted for that space again until it comes back).

use super::{AddressSpace, Loaded, Manager, Mmu};
use crate::tlb::ids::Id;
use vmspace::SpaceId;

impl<V: Manager> Mmu<'_, V> {
    /// Loads `space`, which lives. The hart is inside: whoever ends a space waits for it.
    pub(crate) fn load(&mut self, space: &impl AddressSpace) {
        // What is pending may tell us to leave a space, and that must come before we enter it:
        // afterwards it would take our new bit away.
        self.answer();
        space.enter(self.hart);
        let (name, root) = (space.id(), space.root());
        let found = self.ids.find(name);
        let same = |loaded: Loaded| loaded.root == root && found == Some(loaded.id);
        if self.loaded.is_some_and(same) {
            return;
        }
        self.unload();
        let id = found.unwrap_or_else(|| self.assign(name));
        self.loaded = Some(Loaded { space: name, root, id });
        self.tlb.lines.select(Some(id));
        self.counts.switches += 1;
    }

    /// Loads nothing. What is cached of the space stays, as does the hart's bit in its set.
    pub fn unload(&mut self) {
        self.loaded = None;
        self.tlb.lines.select(None);
        self.code_epoch += 1;
    }

    /// An identifier for a space that has none here.
    fn assign(&mut self, space: SpaceId) -> Id {
        let vacant = self.ids.vacate();
        self.tlb.drop_id(vacant.id);
        if let Some(victim) = vacant.space {
            self.leave_set(victim);
            self.counts.ids_recycled += 1;
        }
        self.ids.give(vacant.id, space);
        vacant.id
    }

    /// Gives up all that it has; the hart is inside.
    pub(crate) fn give_up(&mut self) {
        self.answer();
        self.unload();
        self.drop_everything();
    }
}
