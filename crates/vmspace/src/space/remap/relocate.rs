//! Moving mappings: one to a place that is given or found, or all of a range, one after the other.
//!
//! Guarantee: one mapping moves in one transaction over both places, so that nobody finds it at
//! neither or at both.

use super::{Request, Space};
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::space::size::Room;
use crate::tree::cursor::Cursor;
use crate::tree::locking::Cover;
use crate::tree::moving::Shift;
use crate::tree::walk;

impl<P: Platform> Space<'_, P> {
    /// Moves one mapping, and makes it as long as asked.
    pub(super) fn move_to(&self, ms: &mut MaySleep, request: Request) -> Result<u64, Error> {
        if !self.user().holds(request.from) {
            return Err(Error::NotOneMapping);
        }
        let to = if request.args.fixed {
            let target = PageRange::new(request.to, request.to + request.new);
            self.move_range(ms, request, target)?;
            // It may have been a stack, whose guard gap is free now.
            self.has_freed(ms, target);
            target.start
        } else {
            let hint = if request.is_to() && request.to >= Self::LEAST { request.to } else { 0 };
            let put = |ms: &mut MaySleep, target| self.move_range(ms, request, target);
            let placed = self.place_at(ms, hint, request.new, put);
            if placed == Err(Error::NoFreeRange) {
                // Linux looks at the mapping before it looks for room.
                self.check_source(ms, request)?;
            }
            placed?
        };
        // Last: the search for a place has left its mark.
        self.has_freed(ms, request.source().intersect(self.user()));
        Ok(to)
    }

    /// Why the pages asked about may not move, wherever to.
    fn check_source(&self, ms: &mut MaySleep, request: Request) -> Result<(), Error> {
        let looked = self.looked_at(request);
        self.edit(ms, looked, Cover::Lowest, Mutation::NoShootdownAtRemap, |cursor| {
            Some(self.one_mapping(cursor, request).map(drop))
        })?
    }

    /// The pages of a source that there are, and its first if it is empty: to map something once
    /// more is to look at that.
    fn looked_at(&self, request: Request) -> PageRange {
        let source = request.source().intersect(self.user());
        PageRange::new(source.start, source.end.max(source.start + 1))
    }

    /// Moves every mapping in the range, one after the other, each as far.
    pub(super) fn move_all(&self, ms: &mut MaySleep, request: Request) -> Result<u64, Error> {
        let source = request.source().intersect(self.user());
        let (by, mut page) = (request.to.wrapping_sub(request.from), source.start);
        while page < source.end {
            let next = {
                let guard = self.vm.walk(ms);
                walk::next_mapping(&guard, self.root(), page, source.end)
            };
            let Some(run) = next else { break };
            // A hole before the first is refused; those between move with the mappings.
            if page == source.start && run.range.start > page {
                return Err(Error::NotOneMapping);
            }
            let part = run.range.intersect(source);
            let to = part.start.wrapping_add(by);
            let one = Request { from: part.start, old: part.len(), new: part.len(), to, ..request };
            match self.move_to(ms, one) {
                // Somebody has changed it since: look again.
                Err(Error::NotOneMapping) => continue,
                done => done?,
            };
            page = part.end;
        }
        if page == source.start { Err(Error::NotOneMapping) } else { Ok(request.to) }
    }

    /// Moves the pages to `target`, over what is there or, if that was found free, only if it still
    /// is.
    fn move_range(
        &self,
        ms: &mut MaySleep,
        request: Request,
        target: PageRange,
    ) -> Result<(), Error> {
        let source = request.source().intersect(self.user());
        let looked = self.looked_at(request);
        let (windows, skip) = ([looked, target], Mutation::NoShootdownAtRemap);
        self.edit2_within(
            ms,
            windows,
            skip,
            |ms| self.room(ms),
            |cursor, room| {
                let key = match self.may_move(cursor, request, target, room) {
                    Ok(key) => key,
                    Err(error) => return Some(Err(error)),
                };
                let by = target.start.wrapping_sub(source.start);
                let more = target.len().saturating_sub(source.len());
                if source.is_empty() {
                    cursor.prepare(target, Some(key.shifted(by)))?;
                    if let Err(error) = self.charge_locks(key, more) {
                        return Some(Err(error));
                    }
                    cursor.replace(target, key.shifted(by));
                    return Some(Ok(()));
                }
                let moved =
                    PageRange::new(source.start, source.end.min(source.start + target.len()));
                let shift = Shift { from: moved, by };
                cursor.prepare_move(shift, source, target, key.shifted(by))?;
                if let Err(error) = self.charge_locks(key, more) {
                    return Some(Err(error));
                }
                // Locks move with what is moved.
                cursor.uncharge_locks(target);
                cursor.uncharge_locks(PageRange::new(moved.end, source.end));
                cursor.clear(target);
                cursor.clear(PageRange::new(moved.end, source.end));
                cursor.flush();
                cursor.move_entries(shift);
                let unlocked =
                    Key { attributes: key.attributes.difference(Attributes::LOCKS), ..key };
                let left = if request.args.keep_source { unlocked } else { Key::HOLE };
                cursor.shift(shift, (source, left), (target, key.shifted(by)));
                Some(Ok(()))
            },
        )?
    }

    /// What is to move, if it may.
    fn may_move(
        &self,
        cursor: &Cursor<'_, '_, P>,
        request: Request,
        target: PageRange,
        room: &Room<'_, P>,
    ) -> Result<Key, Error> {
        let key = self.one_mapping(cursor, request)?;
        if target.start < Self::LEAST {
            return Err(Error::BelowMinimum);
        }
        if !request.args.fixed && cursor.first(target, true).is_some() {
            return Err(Error::Exists);
        }
        cursor.check_seals(target)?;
        let more = if request.args.keep_source {
            request.new
        } else {
            request.new.saturating_sub(request.old)
        };
        self.afford(key, more)?;
        // What is left behind counts beside what goes to its new place, instead of what was there.
        let instead = match request.args.keep_source && room.is_limited() {
            true => cursor.pages_with(target, Attributes::MAPPED),
            false => 0,
        };
        room.check(more - instead)?;
        Ok(key)
    }
}
