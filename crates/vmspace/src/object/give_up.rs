//! Giving up pages that are kept elsewhere, when memory runs short.
//!
//! Guarantee: only a page that nobody holds and no entry maps is given up, and only if its pager has
//! its contents, or a slot of swap, or they are zeros that nobody has written to.
//!
//! Who gives a page up has claimed it, has references to it and to the object, and has flushed what
//! mapped it. What is dirty goes to the pager, or to swap, without a lock that anybody waits for but
//! that of the object's writers, which is tried for. Then the page's slot is claimed and its count
//! frozen: from two, his own and the object's, to none in one step. So a reference that somebody
//! else has, or gets in time, makes it fail, and so does what was written since; who comes later
//! finds none to get, and looks again until the slot says where the page is.

use super::writeback::{self, is_dirty, mark_dirty, take_dirty};
use super::{Body, body, pages};
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::rmap;
use crate::swap::{Cluster, word};
use crate::sync::Ordering;
use crate::vm::Vm;

/// Why a page is not given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Somebody is at it, who goes on.
    Busy,
    /// It cannot go.
    Kept,
}

/// Gives the page up, if nobody has come back to it. Then the caller's reference to it is gone too.
pub(crate) fn give_up<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    frame: Frame,
    cluster: &mut Cluster,
) -> Result<(), Refusal> {
    let (found, meta) = (body(vm, object), vm.meta_of(frame));
    if !rmap::is_unmapped(meta) || meta.refs.count() > 2 {
        return Err(Refusal::Busy);
    }
    let index = meta.base.load(Ordering::Relaxed);
    let gone = match (is_dirty(meta), found.pager()) {
        (true, 0) => swap_out(vm, ms, object, index, frame, cluster)?,
        (dirty, _) => {
            if dirty {
                writeback::try_hand_over(vm, ms, found, index, frame)?;
            }
            pages::take_out(vm, found, index, frame, || freeze(vm, frame))
        }
    };
    if !gone {
        return Err(Refusal::Busy);
    }
    give_frozen(vm, frame);
    Ok(())
}

/// Gives back the frame of a page whose count was frozen, and that its backing does not name any more.
pub(crate) fn give_frozen<P: Platform>(vm: &Vm<P>, frame: Frame) {
    let meta = vm.meta_of(frame);
    debug_assert!(
        !is_dirty(meta) || mutation::active(Mutation::NoWriteAtSteal),
        "O2: a page goes that its device, or its pager, does not have"
    );
    debug_assert!(
        rmap::is_unmapped(meta) && meta.pin_count() == 0
            || mutation::active(Mutation::NoPinCheckAtSteal),
        "O12: a page goes that somebody has"
    );
    meta.unclaim();
    vm.give_frame(frame);
}

/// Lets nobody get a reference any more, unless somebody has one, or has written the page.
fn freeze<P: Platform>(vm: &Vm<P>, frame: Frame) -> bool {
    let meta = vm.meta_of(frame);
    if !meta.refs.freeze(2) {
        return false;
    }
    // Who unmapped it, or wrote to it, said so before his reference went.
    let dirty = is_dirty(meta);
    if dirty {
        meta.refs.thaw(2);
    }
    !dirty
}

/// Stores a page of an object of memory on swap; whether nobody was at it.
fn swap_out<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    index: u64,
    frame: Frame,
    cluster: &mut Cluster,
) -> Result<bool, Refusal> {
    let (found, meta): (&Body, _) = (body(vm, object), vm.meta_of(frame));
    if ms.is_in_driver() {
        return Err(Refusal::Kept);
    }
    let place = cluster.take(vm, word::of_object(object)).ok_or(Refusal::Kept)?;
    take_dirty(meta);
    let written = vm.write_slot(ms, place, frame);
    let gone =
        written.is_ok() && pages::swap_out(vm, found, index, frame, place, || freeze(vm, frame));
    if !gone {
        mark_dirty(meta);
        vm.put_slot(place);
    }
    written.map(|()| gone).map_err(|_| Refusal::Kept)
}
