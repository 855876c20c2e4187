//! Stacks that grow: a fault just below a mapping that grows down extends it.

use super::Space;
use super::place::stack_guard;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::Attributes;
use crate::sync::Ordering;
use crate::tree::locking::Cover;
use crate::tree::walk;

impl<P: Platform> Space<'_, P> {
    /// Extends the stack above `page`, which is a hole, down to it. False: there is none, or it
    /// may not grow that far: its limit, or the guard gap to the mapping below.
    pub(crate) fn extend_stack(&self, ms: &mut MaySleep, page: u64) -> Result<bool, Error> {
        let limit = self.header().stack_limit.load(Ordering::Relaxed);
        let end = page.saturating_add(limit).min(P::Format::USER_PAGES);
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
        let guard = page.saturating_sub(stack_guard::<P::Format>());
        // The page above belongs to the range verified: the stack must still begin there.
        let verified = PageRange::new(guard, growth.end + 1);
        self.edit(ms, verified, Cover::Lowest, Mutation::NoShootdownAtUnmap, |cursor| {
            let free = cursor.first(PageRange::new(guard, growth.end), true).is_none();
            if !free || cursor.piece(growth.end).0 != stack.key {
                return Some(false);
            }
            cursor.prepare(growth, stack.key.object != 0)?;
            cursor.replace(growth, stack.key);
            Some(true)
        })
    }
}
