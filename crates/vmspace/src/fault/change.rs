//! A leaf entry is changed: it gets the region's rights, or another page.
//!
//! Guarantee: the page is prepared without locks; under the lock of the lowest node the need is the
//! same, or nothing happens and what was prepared is given back. Where another frame comes, the
//! entry is absent, everywhere, in between.

use super::Target;
use super::install::Install;
use super::need::{Need, need};
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::format::Entry;
use crate::frame::meta::Kind;
use crate::platform::Platform;
use crate::rmap;
use crate::space::Space;
use crate::tree::locking;

impl<'vm, P: Platform> Space<'vm, P> {
    /// Settles what needs no empty entry. False: look again; None: no memory.
    #[inline(never)]
    pub(super) fn change<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        target: &Target,
    ) -> Option<bool> {
        let page = match target.need {
            Need::Fresh => {
                let frame = self.vm.take_frame(Kind::Page)?;
                self.vm.platform().zero(frame);
                Some(frame)
            }
            Need::Copy(from) => {
                let copy = self.copy(from);
                if copy.is_none() {
                    rmap::put_page(self.vm, from);
                }
                Some(copy?)
            }
            _ => None,
        };
        let changed = self.change_leaf::<OWN>(ms, target, page);
        if let (Some(page), false) = (page, changed) {
            self.vm.give_frame(page);
        }
        // Not before: a frame that is reused would look the same again.
        if let Need::Copy(from) = target.need {
            rmap::put_page(self.vm, from);
        }
        Some(changed)
    }

    /// Locks, and changes the leaf if the need is still the same.
    fn change_leaf<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        target: &Target,
        new: Option<Frame>,
    ) -> bool {
        let Target { page, access, need: expected, ref seen } = *target;
        let (held, same) = locking::lock_page(self.root_node(), ms, page, seen);
        let node = held.top;
        let key = if same { seen.key } else { node.piece(page).0.key };
        let entry = node.entry(node.index(page));
        match entry {
            // What is needed follows from the node alone, but for whose the page is.
            Entry::Leaf(old) if need::<OWN, P>(self.vm, key, page, entry, access) == expected => {
                Install { node, page, access, key }.change(held, ms, expected, old, new);
                true
            }
            _ => {
                held.release();
                false
            }
        }
    }
}
