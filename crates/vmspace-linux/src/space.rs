//! A space of a program, which the harts forget before it ends.

use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vmspace::format::{Format, Geometry};
use vmspace::{Error, MaySleep, Vm};
use vmspace_machine::MachinePlatform;

use crate::Errno;

/// vm.max_map_count: how many mappings a space may have.
pub(crate) const MOST_MAPPINGS: u64 = 65_530;

/// How many mappings a call may add.
const ADDED: u64 = 2;

/// Linux moves a mapping only while there are so many fewer than there may be, and two fewer still
/// where the place is given.
const SPARE_TO_MOVE: u64 = 3;

/// Where a program's own parts lie, in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Marks {
    /// Where the heap begins.
    pub heap: u64,
    /// The stack pointer at the start.
    pub stack: u64,
    /// The arguments' strings: their start and end.
    pub arguments: (u64, u64),
}

/// How much a process may map and lock, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// RLIMIT_MEMLOCK, the soft limit.
    pub locked: u64,
    /// RLIMIT_AS, soft and hard.
    pub size: [u64; 2],
}

impl Default for Limits {
    fn default() -> Self {
        Limits { locked: crate::calls::LOCK_LIMIT, size: [u64::MAX; 2] }
    }
}

/// The library's space on the machine. Threads share it; the last one to go ends it.
pub(crate) struct Space<'vm, F: Format> {
    space: vmspace::Space<'vm, MachinePlatform<F>>,
    vm: &'vm Vm<MachinePlatform<F>>,
    pub marks: Marks,
    /// There are at most so many mappings.
    mappings: AtomicU64,
    /// What the limit of all that is mapped may be raised to (RLIMIT_AS, the hard limit). Who reads or
    /// changes the two holds it.
    hard_size_limit: Mutex<u64>,
}

impl<'vm, F: Format> Space<'vm, F> {
    pub fn new(
        vm: &'vm Vm<MachinePlatform<F>>,
        ms: &mut MaySleep,
        limits: Limits,
    ) -> Result<Self, Error> {
        let space = Space {
            space: vmspace::Space::new(vm, ms)?,
            vm,
            marks: Marks::default(),
            // Those of the program are not counted yet.
            mappings: AtomicU64::new(MOST_MAPPINGS),
            hard_size_limit: Mutex::new(u64::MAX),
        };
        space.set_limits(limits);
        Ok(space)
    }

    pub fn limits(&self) -> Limits {
        Limits { locked: self.lock_limit(), size: self.size_limits() }
    }

    /// Sets them, whatever they were.
    fn set_limits(&self, Limits { locked, size: [soft, hard] }: Limits) {
        let mut most = self.hard_size_limit();
        *most = hard;
        self.set_size_limit(soft);
        self.set_lock_limit(locked);
    }

    fn hard_size_limit(&self) -> MutexGuard<'_, u64> {
        self.hard_size_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// RLIMIT_AS, soft and hard, in bytes.
    pub fn size_limits(&self) -> [u64; 2] {
        let hard = self.hard_size_limit();
        [self.size_limit(), *hard]
    }

    /// Sets RLIMIT_AS, soft and hard; what it was. EPERM where the hard limit would be raised.
    pub fn change_size_limits(&self, [soft, hard]: [u64; 2]) -> Result<[u64; 2], Errno> {
        let mut most = self.hard_size_limit();
        if hard > *most {
            return Err(Errno::EPERM);
        }
        let before = [self.size_limit(), *most];
        *most = hard;
        self.set_size_limit(soft);
        Ok(before)
    }

    /// ENOMEM where there are more mappings than may be, to who is about to make one.
    pub fn check_mappings(&self, ms: &mut MaySleep) -> Result<(), Errno> {
        if self.count(ms, ADDED) > MOST_MAPPINGS { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// ENOMEM where splitting mappings at these addresses would make too many.
    pub fn check_splits(&self, ms: &mut MaySleep, at: &[u64]) -> Result<(), Errno> {
        let count = self.count(ms, ADDED);
        if count + ADDED <= MOST_MAPPINGS {
            return Ok(());
        }
        let splits = at.iter().filter(|at| self.is_inside(ms, **at)).count() as u64;
        if splits > 0 && count + splits > MOST_MAPPINGS { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Whether a mapping may go elsewhere, as far as their number goes.
    pub fn may_move(&self, ms: &mut MaySleep) -> bool {
        self.count(ms, ADDED) < MOST_MAPPINGS - SPARE_TO_MOVE
    }

    /// ENOMEM where there are too many mappings for one to go to a given place, where others may be;
    /// those in a range stay behind.
    pub fn check_move(&self, ms: &mut MaySleep, range: Range<u64>) -> Result<(), Errno> {
        let (mut stay, mut from) = (0, range.start);
        while let Some(region) = self.next_region(ms, from)
            && region.start < range.end
        {
            from = region.end;
            stay += 1;
        }
        let added = ADDED.max(stay + 1);
        // What is at the ends of both ranges is split.
        let count = self.count(ms, added + ADDED);
        if count + added < MOST_MAPPINGS - SPARE_TO_MOVE { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Whether the page before the address and the one at it are of one mapping.
    fn is_inside(&self, ms: &mut MaySleep, at: u64) -> bool {
        let before = at.saturating_sub(F::PAGE_SIZE);
        let around = self.next_region(ms, before);
        around.is_some_and(|region| region.start <= before && region.end > at)
    }

    /// How many mappings there are, to who may add so many; or more while that is few enough: they are
    /// counted only when the calls since the last time may have made too many.
    fn count(&self, ms: &mut MaySleep, added: u64) -> u64 {
        let at_most = self.mappings.fetch_add(added, Ordering::Relaxed);
        if at_most + added + SPARE_TO_MOVE < MOST_MAPPINGS {
            return at_most;
        }
        let mut count = 0;
        self.for_each_region(ms, |_| count += 1);
        self.mappings.store(count + added, Ordering::Relaxed);
        count
    }

    /// A copy-on-write copy.
    pub fn fork(&self, ms: &mut MaySleep) -> Result<Self, Error> {
        let child = Space {
            space: self.space.fork(ms)?,
            vm: self.vm,
            marks: self.marks,
            mappings: AtomicU64::new(self.mappings.load(Ordering::Relaxed)),
            hard_size_limit: Mutex::new(u64::MAX),
        };
        child.set_limits(self.limits());
        Ok(child)
    }
}

impl<'vm, F: Format> Deref for Space<'vm, F> {
    type Target = vmspace::Space<'vm, MachinePlatform<F>>;

    fn deref(&self) -> &Self::Target {
        &self.space
    }
}

impl<F: Format> Drop for Space<'_, F> {
    fn drop(&mut self) {
        // Threads are gone, so nobody loads it again; the library ends it after this.
        self.vm.platform().forget_space(self.space.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmspace::Map;
    use vmspace::format::{Rights, Sv48};
    use vmspace_machine::Config;

    fn with_space(body: impl FnOnce(&Space<'_, Sv48>, &mut MaySleep)) {
        let config = Config { memory: 16 << 20, ..Config::default() };
        let platform = MachinePlatform::<Sv48>::new(config).expect("a machine");
        let frames = platform.frames();
        let vm = Vm::new(platform, frames).expect("a manager");
        vm.platform().bind_other(0);
        // SAFETY: the test's own thread, which is no hart and holds nothing of the library.
        let mut ms = unsafe { MaySleep::assume() };
        let space = Space::new(&vm, &mut ms, Limits::default()).expect("a space");
        body(&space, &mut ms);
        drop(space);
        vm.reap(&mut ms);
    }

    #[test]
    fn a_limit_that_another_has_lowered_would_be_raised_again() {
        with_space(|space, ms| {
            assert_eq!(space.change_size_limits([5, 9]), Ok([u64::MAX; 2]));
            assert_eq!(space.change_size_limits([5, 10]), Err(Errno::EPERM));
            assert_eq!(space.change_size_limits([9, 9]), Ok([5, 9]));
            assert_eq!(space.fork(ms).expect("a child").size_limits(), [9, 9]);
        });
    }

    #[test]
    fn mappings_that_moves_leave_behind_would_not_be_counted() {
        with_space(|space, ms| {
            let at = space.map(ms, Map::anonymous(3 * 4096, Rights::READ)).expect("a mapping");
            space
                .protect(ms, at + 4096, 4096, Rights::READ | Rights::WRITE)
                .expect("three mappings");
            let limit = MOST_MAPPINGS - SPARE_TO_MOVE;
            let counted = |count| space.mappings.store(count, Ordering::Relaxed);
            counted(limit - ADDED - 1);
            assert!(space.may_move(ms), "an estimate that is low enough");
            counted(limit);
            assert!(space.may_move(ms), "counted, there are few");
            assert_eq!(space.mappings.load(Ordering::Relaxed), 3 + ADDED);
            assert_eq!(space.check_move(ms, at..at + 3 * 4096), Ok(()));
            let added = ADDED + 3 + 1 + ADDED;
            assert_eq!(space.mappings.load(Ordering::Relaxed), 3 + added, "three stay behind");
        });
    }
}
