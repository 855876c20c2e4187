//! Locks on files: records of fcntl(2), open-file-description locks, flock(2).
//!
//! Guarantee: no two owners hold what excludes each other. An owner is a table of descriptors (what
//! fcntl's classic locks belong to, so a process's threads share them and a fork inherits none), or
//! an open file description. Ranges of one owner never overlap, and touching ones of one kind are
//! one. The locks are under the kernel's lock; a waiter is a thread whose wait names the owner in
//! its way, so the graph of waits needs no record of its own.

use std::collections::BTreeMap;

use crate::Errno;
use crate::task::Id;

/// Locks that may be held at once, all files together.
const MOST_LOCKS: usize = 65_536;

/// The file that a lock is on, and whether flock's locks are meant: they do not see the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Locked {
    pub file: (u64, u64),
    pub whole: bool,
}

/// Whom a lock belongs to, by the address of what lives as long as the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A table of descriptors.
    Files(usize),
    /// An open file description.
    Description(usize),
}

/// A lock that is held or asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lock {
    pub owner: Owner,
    /// The process that asked.
    pub process: Id,
    pub start: u64,
    /// The last byte.
    pub last: u64,
    pub write: bool,
}

impl Lock {
    fn overlaps(&self, other: &Lock) -> bool {
        self.start <= other.last && other.start <= self.last
    }
}

/// All locks that are held, each file's in order of their starts.
#[derive(Default)]
pub(crate) struct Locks(BTreeMap<Locked, Vec<Lock>>);

impl Locks {
    /// The first lock in the way.
    pub fn conflict(&self, at: Locked, asked: &Lock) -> Option<Lock> {
        let excludes = |held: &&Lock| {
            held.owner != asked.owner && held.overlaps(asked) && (held.write || asked.write)
        };
        self.0.get(&at).and_then(|locks| locks.iter().find(excludes)).copied()
    }

    /// Takes a lock that nothing is in the way of, in place of what the owner has there.
    pub fn take(&mut self, at: Locked, lock: Lock) -> Result<(), Errno> {
        if self.0.values().map(Vec::len).sum::<usize>() + 2 > MOST_LOCKS {
            return Err(Errno::ENOLCK);
        }
        self.release(at, lock.owner, lock.start, lock.last);
        let locks = self.0.entry(at).or_default();
        let mut lock = lock;
        locks.retain(|held| {
            let touches = held.owner == lock.owner
                && held.write == lock.write
                && held.start <= lock.last.saturating_add(1)
                && lock.start <= held.last.saturating_add(1);
            if touches {
                lock.start = lock.start.min(held.start);
                lock.last = lock.last.max(held.last);
            }
            !touches
        });
        let place = locks.partition_point(|held| held.start <= lock.start);
        locks.insert(place, lock);
        Ok(())
    }

    /// Releases what the owner holds of a range; whether there was something.
    pub fn release(&mut self, at: Locked, owner: Owner, start: u64, last: u64) -> bool {
        let Some(locks) = self.0.get_mut(&at) else { return false };
        let mut rest = Vec::new();
        let before = locks.len();
        locks.retain(|held| {
            let hit = held.owner == owner && held.start <= last && start <= held.last;
            if hit && held.start < start {
                rest.push(Lock { last: start - 1, ..*held });
            }
            if hit && held.last > last {
                rest.push(Lock { start: last + 1, ..*held });
            }
            !hit
        });
        let changed = locks.len() != before;
        locks.extend(rest);
        locks.sort_by_key(|lock| lock.start);
        if locks.is_empty() {
            self.0.remove(&at);
        }
        changed
    }

    /// Releases all that the owner holds on a file; whether there was something.
    pub fn forget(&mut self, file: (u64, u64), owner: Owner) -> bool {
        let of = |whole| Locked { file, whole };
        let whole = self.release(of(true), owner, 0, u64::MAX);
        self.release(of(false), owner, 0, u64::MAX) || whole
    }
}

/// Whether waiting for `blocker` would close a circle: it waits, through others perhaps, for
/// `owner`. `waits_for` says whom an owner's threads wait for.
pub(crate) fn deadlock(
    owner: Owner,
    mut blocker: Owner,
    waits_for: impl Fn(Owner) -> Option<Owner>,
) -> bool {
    /// Linux's bound on the chain.
    const MOST: usize = 10;
    for _ in 0..MOST {
        if blocker == owner {
            return true;
        }
        match waits_for(blocker) {
            Some(next) => blocker = next,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Locked = Locked { file: (1, 1), whole: false };

    fn lock(owner: usize, start: u64, last: u64, write: bool) -> Lock {
        Lock { owner: Owner::Files(owner), process: 0, start, last, write }
    }

    fn held(locks: &Locks) -> Vec<(u64, u64, bool)> {
        locks.0.get(&AT).into_iter().flatten().map(|l| (l.start, l.last, l.write)).collect()
    }

    #[test]
    fn a_release_in_the_middle_leaves_both_ends() {
        let mut locks = Locks::default();
        locks.take(AT, lock(1, 0, 99, true)).expect("room");
        assert!(locks.release(AT, Owner::Files(1), 40, 59));
        assert_eq!(held(&locks), [(0, 39, true), (60, 99, true)]);
        locks.take(AT, lock(1, 40, 59, true)).expect("room");
        assert_eq!(held(&locks), [(0, 99, true)], "touching locks of one kind are one");
        locks.take(AT, lock(1, 10, 19, false)).expect("room");
        assert_eq!(held(&locks), [(0, 9, true), (10, 19, false), (20, 99, true)]);
        assert!(locks.forget(AT.file, Owner::Files(1)));
        assert!(locks.0.is_empty(), "nothing is kept of files without locks");
    }

    #[test]
    fn readers_share_and_writers_exclude() {
        let mut locks = Locks::default();
        locks.take(AT, lock(1, 0, u64::MAX, false)).expect("room");
        assert_eq!(locks.conflict(AT, &lock(2, 5, 5, false)), None);
        assert_eq!(locks.conflict(AT, &lock(2, 5, 5, true)), Some(lock(1, 0, u64::MAX, false)));
        assert_eq!(locks.conflict(AT, &lock(1, 5, 5, true)), None, "one's own is not in the way");
        let other = Locked { whole: true, ..AT };
        assert_eq!(locks.conflict(other, &lock(2, 5, 5, true)), None, "flock sees its own alone");
    }

    #[test]
    fn a_circle_of_waits_is_found() {
        let waits = |owner| match owner {
            Owner::Files(2) => Some(Owner::Files(3)),
            Owner::Files(3) => Some(Owner::Files(1)),
            _ => None,
        };
        assert!(deadlock(Owner::Files(1), Owner::Files(2), waits));
        assert!(!deadlock(Owner::Files(4), Owner::Files(2), waits));
    }
}
