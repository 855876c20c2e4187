//! Stacks that grow: a fault just below a mapping that grows down extends it.

use super::Space;
use super::map::LEAST_ADDRESS;
use super::place::STACK_GUARD;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry, Rights};
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::sync::Ordering;
use crate::tree::cursor::Cursor;
use crate::tree::locking::Cover;
use crate::tree::walk;

impl<P: Platform> Space<'_, P> {
    /// Extends the stack above `page`, which is a hole, down to it. False: there is none, or it
    /// may not grow that far: its limit, or the guard gap to the mapping below.
    pub(crate) fn extend_stack(&self, ms: &mut MaySleep, page: u64) -> Result<bool, Error> {
        let limit = self.header().stack_limit.load(Ordering::Relaxed);
        if page < LEAST_ADDRESS >> P::Format::PAGE_SHIFT {
            return Ok(false);
        }
        // One page more than the limit: a stack beyond it is seen to be.
        let end = page.saturating_add(limit).saturating_add(1).min(P::Format::USER_PAGES);
        let stack = {
            let guard = self.vm.walk(ms);
            walk::next_mapping(&guard, self.root(), page, end)
        };
        let Some(stack) = stack else { return Ok(false) };
        let grows = stack.key.attributes.contains(Attributes::GROWS_DOWN);
        if !grows || stack.range.start <= page || stack.range.end - page > limit {
            // It starts here already when another fault was faster.
            return Ok(grows && stack.range.start <= page);
        }
        let growth = PageRange::new(page, stack.range.start);
        let guard = page.saturating_sub(STACK_GUARD);
        // The page above belongs to the range verified: the stack must still begin there.
        let verified = PageRange::new(guard, growth.end + 1);
        let (cover, skip) = (Cover::Lowest, Mutation::NoShootdownAtUnmap);
        self.edit_within(
            ms,
            verified,
            cover,
            skip,
            |ms| self.room(ms),
            |cursor, room| {
                let changed =
                    cursor.first(growth, true).is_some() || cursor.piece(growth.end).0 != stack.key;
                if changed && !mutation::active(Mutation::NoSecondLookAtGrowth) {
                    // Another fault, or a change, was faster: the fault looks again.
                    return Some(true);
                }
                let crowded =
                    last_mapping(cursor, PageRange::new(guard, page)).is_some_and(keeps_away);
                if crowded || room.check(growth.len()).is_err() {
                    return Some(false);
                }
                cursor.prepare(growth, Some(stack.key))?;
                if self.charge_locks(stack.key, growth.len()).is_err() {
                    return Some(false);
                }
                cursor.replace(growth, stack.key);
                Some(true)
            },
        )
    }
}

/// What the last mapped page of `range` is, if one is mapped.
fn last_mapping<P: Platform>(cursor: &Cursor<'_, '_, P>, range: PageRange) -> Option<Key> {
    let (mut page, mut last) = (range.start, None);
    while page < range.end {
        let (key, end) = cursor.piece(page);
        if key.is_mapped() {
            last = Some(key);
        }
        page = end;
    }
    last
}

/// Whether a stack keeps its guard gap to a mapping below it: not to another stack, and not to
/// one that nobody can access, which is a guard itself.
fn keeps_away(below: Key) -> bool {
    let access = Rights::READ | Rights::WRITE | Rights::EXECUTE;
    let accessible = below.attributes.rights().intersects(access);
    accessible && !below.attributes.contains(Attributes::GROWS_DOWN)
}
