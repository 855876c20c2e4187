//! From a page of an object to the entries that map it.
//!
//! Guarantee: an entry is changed under its leaf's lock, found there naming the page, and shot down
//! before the unlock. Who comes here holds nothing of the tree; one leaf is locked at a time.
//!
//! The next mapper is read under a guard that was entered before: its record is made before the
//! entry and goes before its table is retired, so the table is one until the guard goes. A table
//! that was detached is not locked: whoever detached it drops its records, which is waited for.

use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::frame::meta::Meta;
use crate::lock::{self, Attempt};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::rmap::{self, Mapper};
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking::{self, Held};
use crate::tree::node::Node;
use crate::vm::Vm;

/// The first mapper after `after`, its leaf locked.
fn lock_next<'a, P: Platform>(
    vm: &'a Vm<P>,
    _: &mut MaySleep,
    meta: &Meta,
    after: Option<Mapper>,
) -> Option<(Mapper, Held<'a, P>)> {
    loop {
        let guard = vm.enter();
        let mapper = rmap::next(vm, meta, after)?;
        let node = Node::of(vm, mapper.table);
        match locking::try_lock_leaf(node) {
            Ok(held) => return Some((mapper, held)),
            Err(Attempt::Held) => {
                drop(guard);
                lock::wait(vm.platform(), &node.meta.lock);
            }
            Err(_) => {
                drop(guard);
                vm.platform().relax();
            }
        }
    }
}

/// Runs `change` on the entry of a mapper whose leaf is locked, if it names the page.
fn change<'a, P: Platform, R>(
    (mapper, held): (Mapper, Held<'a, P>),
    ms: &mut MaySleep,
    frame: Frame,
    skip: Mutation,
    change: impl FnOnce(&mut Cursor<'a, '_, P>, Node<'a, P>, usize) -> R,
) -> Option<R> {
    let (node, index) = (held.top, mapper.index);
    let page = node.slot_range(index).start;
    let mut gather = Gather::default();
    let range = PageRange::new(page, page + 1);
    let mut cursor = Cursor::of(held, ms, &mut gather, range, skip);
    let names = node.leaf(index).is_some_and(|leaf| leaf.frame == frame);
    let result = names.then(|| change(&mut cursor, node, index));
    cursor.commit().release();
    result
}

/// Clears every entry that maps the page. New ones come only as copies of those that are there.
pub(super) fn unmap<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep, frame: Frame) {
    while let Some(found) = lock_next(vm, ms, vm.meta_of(frame), None) {
        change(found, ms, frame, Mutation::NoShootdownAtTruncation, |cursor, node, index| {
            cursor.take_entry(node, index);
            node.lost(1);
        });
    }
}

/// Clears the dirty bit of every entry that maps the page; whether any was set. What is stored from
/// now on sets it again.
pub(super) fn clean<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep, frame: Frame) -> bool {
    let (mut dirty, mut after) = (false, None);
    while let Some(found) = lock_next(vm, ms, vm.meta_of(frame), after) {
        after = Some(found.0);
        let skip = Mutation::NoShootdownAtClean;
        let cleaned =
            change(found, ms, frame, skip, |cursor, node, index| cursor.clean_entry(node, index));
        dirty |= cleaned.unwrap_or(false);
    }
    dirty
}
