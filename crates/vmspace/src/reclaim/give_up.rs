//! The last steps: a page whose entries are gone is written if need be, and given up.
//!
//! Guarantee: only now, when every CPU has dropped the page, is it looked at whether it is dirty, and
//! what is dirty is written before the page goes (R13, R40; oracle O2). A page that somebody has come
//! back to, that somebody holds, or that its device does not take stays, and is young again.

use super::victim::{Backing, Victim};
use crate::context::MaySleep;
use crate::mutation::{self, Mutation};
use crate::object::{self, Refusal};
use crate::platform::Platform;
use crate::rmap;
use crate::swap::{Cluster, Place};
use crate::vm::Vm;

impl<P: Platform> Vm<P> {
    /// Gives the page up if nothing is in the way; else it stays.
    pub(super) fn give_up(
        &self,
        ms: &mut MaySleep,
        victim: Victim,
        cluster: &mut Cluster,
    ) -> Result<(), Refusal> {
        let gone = match victim.backing {
            Backing::Slot(place) => self.give_up_to_slot(ms, &victim, place),
            Backing::Object(object) => object::give_up(self, ms, object, victim.frame, cluster),
        };
        match gone {
            Ok(()) => victim.put_backing(self),
            Err(_) => {
                self.rejuvenate(self.meta_of(victim.frame));
                victim.spare(self);
            }
        }
        gone
    }

    /// The page's contents go to its slot, unless they are there; then the page leaves the cache, and
    /// is free.
    fn give_up_to_slot(
        &self,
        ms: &mut MaySleep,
        victim: &Victim,
        place: Place,
    ) -> Result<(), Refusal> {
        let (frame, meta) = (victim.frame, self.meta_of(victim.frame));
        // The cache's reference and ours.
        let free =
            if mutation::active(Mutation::NoPinCheckAtSteal) { meta.refs.count() } else { 2 };
        if !rmap::is_unmapped(meta) || meta.refs.count() > free {
            return Err(Refusal::Busy);
        }
        if object::is_dirty(meta) && !mutation::active(Mutation::NoWriteAtSteal) {
            if ms.is_in_driver() {
                return Err(Refusal::Kept);
            }
            object::take_dirty(meta);
            if self.write_slot(ms, place, frame).is_err() {
                object::mark_dirty(meta);
                return Err(Refusal::Kept);
            }
        }
        if !meta.refs.freeze(free) {
            return Err(Refusal::Busy);
        }
        self.take_from_slot(place, self.generation_now());
        object::give_frozen(self, frame);
        Ok(())
    }
}
