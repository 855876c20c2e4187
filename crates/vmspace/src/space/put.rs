//! The last step of what maps: a range becomes a mapping, under its locks.
//!
//! Guarantee: whether something is there, whether it is sealed, how much may be mapped and locked, and
//! which locks mappings to come get, is looked at under the locks under which the range is changed: who
//! changes one of these for all finds the mapping behind him, or it was made by the new rule.

use super::Space;
use super::size::Room;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::tree::cursor::Cursor;
use crate::tree::locking::Cover;

/// What came of mapping a range.
#[derive(Clone, Copy)]
pub(super) struct Put {
    /// Something was there.
    replaced: bool,
    /// Its pages are to be brought.
    pub locked: bool,
}

impl<P: Platform> Space<'_, P> {
    /// Maps `range` as `key`, over what is there or only if nothing is.
    pub(super) fn map_range(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        key: Key,
        replace: bool,
    ) -> Result<(), Error> {
        let (cover, skip) = (Cover::Parent, Mutation::NoShootdownAtUnmap);
        let put = self.edit_within(
            ms,
            range,
            cover,
            skip,
            |ms| self.room(ms),
            |cursor, room| self.put(cursor, range, key, replace, room),
        )??;
        if put.replaced {
            // It may have been a stack, whose guard gap is free now.
            self.has_freed(ms, range);
        }
        if put.locked {
            let _ = self.bring_for_use(ms, range);
        }
        Ok(())
    }

    /// `map_range` under the cursor. None: no memory.
    #[inline]
    pub(super) fn put(
        &self,
        cursor: &mut Cursor<'_, '_, P>,
        range: PageRange,
        key: Key,
        replace: bool,
        room: &Room<'_, P>,
    ) -> Option<Result<Put, Error>> {
        // Who sets the locks of all has changed this before he looks here.
        let key = Key { attributes: self.with_future_locks(key.attributes), ..key };
        if !replace && cursor.first(range, true).is_some() {
            return Some(Err(Error::Exists));
        }
        if let Err(error) = cursor.check_seals(range) {
            return Some(Err(error));
        }
        if room.is_limited() {
            let mapped = cursor.pages_with(range, Attributes::MAPPED);
            if let Err(error) = room.check(range.len() - mapped) {
                return Some(Err(error));
            }
        }
        cursor.prepare(range, Some(key))?;
        if let Err(error) = self.charge_locks(key, range.len()) {
            return Some(Err(error));
        }
        let replaced = cursor.replace(range, key);
        Some(Ok(Put { replaced, locked: key.attributes.contains(Attributes::LOCKED) }))
    }
}
