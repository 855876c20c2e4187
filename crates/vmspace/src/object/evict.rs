//! Giving up pages that their pager can bring again, when memory runs short.
//!
//! Guarantee: only a page that nobody holds, that no entry maps and that its pager has the contents
//! of is given up. A hand goes round all frames' metadata; there are no lists.
//!
//! Who gives a page up takes a reference, finds the object under a guard that was entered before,
//! claims the page's slot and freezes the count: from two, his own and the object's, to none in one
//! step. So a reference that somebody else has, or gets in time, makes it fail; who comes later
//! finds none to get, and looks again until the slot is empty.

use super::writeback::is_dirty;
use super::{body, pages, put, try_get};
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::counters::Event;
use crate::frame::meta::{Kind, Meta};
use crate::platform::Platform;
use crate::rmap;
use crate::sync::{AtomicU64, Ordering};
use crate::vm::Vm;

/// How many pages are given up before the allocation is tried again.
const BATCH: u64 = 32;

/// Where the search goes on. On a line of its own: it is written where memory is short.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Hand(AtomicU64);

/// Whether the page looks as if it could be given up.
fn is_idle(meta: &Meta) -> bool {
    meta.kind() == Kind::Page
        && meta.is_cached()
        && meta.refs.count() == 1
        && meta.word.load(Ordering::Relaxed) == 0
        && !is_dirty(meta)
}

impl<P: Platform> Vm<P> {
    /// Gives up a few pages of objects; whether there were any.
    pub(crate) fn evict(&self, ms: &mut MaySleep) -> bool {
        let (first, frames) = self.managed_span();
        let mut given = 0;
        for _ in 0..frames {
            let frame = first.add(self.hand.0.fetch_add(1, Ordering::Relaxed) % frames);
            if is_idle(self.meta_of(frame)) && self.give_up(ms, frame) {
                given += 1;
                if given == BATCH {
                    break;
                }
            }
        }
        self.count(Event::PageEvicted, given);
        given != 0
    }

    fn give_up(&self, ms: &mut MaySleep, frame: Frame) -> bool {
        let meta = self.meta_of(frame);
        let Some(object) = self.hold_with_object(ms, frame) else { return false };
        let found = body(self, object);
        let index = meta.base.load(Ordering::Relaxed);
        let gone = found.pager() != 0
            && pages::take_out(self, found, index, frame, || {
                if !meta.refs.freeze(2) {
                    return false;
                }
                // Who unmapped it said whether it is dirty before his reference went.
                if is_dirty(meta) {
                    meta.refs.thaw(2);
                    return false;
                }
                true
            });
        if gone {
            self.give_frame(frame);
        } else {
            rmap::put_page(self, frame);
        }
        put(self, ms, object, 1);
        gone
    }

    /// References to a page of an object, and to the object.
    fn hold_with_object(&self, ms: &mut MaySleep, frame: Frame) -> Option<u64> {
        let guard = self.walk(ms);
        let meta = self.meta_of(frame);
        if !meta.refs.try_get() {
            return None;
        }
        // A page leaves its object before that is retired: this one's is no other yet.
        let object = meta.owner.load(Ordering::Relaxed);
        if object != 0 && try_get(&guard, object) {
            return Some(object);
        }
        rmap::put_page(self, frame);
        None
    }
}
