//! The operations whose instructions are counted. Each is set up and then run `n` times; the cost
//! of one is the difference of two runs divided by the difference of their `n`, so whatever is
//! done before and after, and once, is not in it. Set-up that every round needs (mapping what is to
//! be unmapped) is counted alone and subtracted.

use crate::world::World;
use vmspace::format::{Geometry, Rights, Sv48};
use vmspace::{Access, Advice, Map, MaySleep};

/// A way to run something `n` times.
pub type Run = fn(&World<'_>, &mut MaySleep, u64);

/// An operation, or the set-up that another's rounds contain.
pub struct Operation {
    pub name: &'static str,
    /// What it is, for the table; empty for mere set-up.
    pub what: &'static str,
    pub run: Run,
    /// The operation whose cost every round contains besides.
    pub less: Option<&'static str>,
    /// How many pages a round is about, where the cost of one is wanted.
    pub pages: u64,
    /// The most instructions allowed.
    pub bound: Option<u64>,
}

const fn operation(name: &'static str, what: &'static str, run: Run) -> Operation {
    Operation { name, what, run, less: None, pages: 1, bound: None }
}

impl Operation {
    const fn less(self, name: &'static str) -> Operation {
        Operation { less: Some(name), ..self }
    }

    const fn over(self, pages: u64) -> Operation {
        Operation { pages, ..self }
    }

    const fn at_most(self, bound: u64) -> Operation {
        Operation { bound: Some(bound), ..self }
    }
}

const PAGE: u64 = Sv48::PAGE_SIZE;
const RW: Rights = Rights::READ.union(Rights::WRITE);
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
/// A misaligned range that spans two nodes of every level but the root.
const AT: u64 = (1 << 40) - 64 * KIB;
/// In the middle of a leaf.
const LEAF: u64 = (3 << 40) + 256 * PAGE;

/// The start of a leaf, filled mapping by mapping.
const NEIGHBOURS: u64 = 5 << 40;

/// All that is counted.
pub const ALL: &[Operation] = &[
    operation("fault", "anonymous fault in an existing leaf, zeroing excluded", |s, ms, n| {
        heap(s, ms, n + 1);
        touch(s, ms, 1, n);
    })
    .at_most(600),
    operation("fault-table", "anonymous fault that makes a table", |s, ms, n| {
        map(s, ms, LEAF, GIB);
        for i in 0..n {
            let _ = s.fault(ms, LEAF + (i << 21), Access::Write);
        }
    }),
    operation("fault-read", "read fault that maps the zero page", |s, ms, n| {
        heap(s, ms, n + 1);
        for i in 1..=n {
            let _ = s.fault(ms, LEAF + i * PAGE, Access::Read);
        }
    }),
    operation("map", "map of 16 KiB in an existing leaf", |s, ms, n| {
        map(s, ms, NEIGHBOURS + 508 * PAGE, PAGE);
        let _ = s.fault(ms, NEIGHBOURS + 508 * PAGE, Access::Write);
        (0..n).for_each(|i| map(s, ms, NEIGHBOURS + i * 16 * KIB, 16 * KIB));
    })
    .at_most(1000),
    operation("map-unmap", "map and unmap of 16 KiB", |s, ms, n| {
        leaf(s, ms);
        for _ in 0..n {
            map(s, ms, LEAF + 4 * PAGE, 16 * KIB);
            unmap(s, ms, LEAF + 4 * PAGE, 16 * KIB);
        }
    }),
    operation("map-anywhere", "the same where the library finds room", |s, ms, n| {
        leaf(s, ms);
        for _ in 0..n {
            if let Ok(at) = s.map(ms, Map::anonymous(16 * KIB, RW)) {
                unmap(s, ms, at, 16 * KIB);
            }
        }
    }),
    operation("map-page", "map of one page", |s, ms, n| {
        leaf(s, ms);
        (0..n).for_each(|_| map(s, ms, LEAF + 4 * PAGE, PAGE));
    }),
    operation("unmap", "unmap of one untouched page", |s, ms, n| {
        leaf(s, ms);
        for _ in 0..n {
            map(s, ms, LEAF + 4 * PAGE, PAGE);
            unmap(s, ms, LEAF + 4 * PAGE, PAGE);
        }
    })
    .less("map-page")
    .at_most(1200),
    operation("unmap-touched", "unmap of one touched page", |s, ms, n| {
        leaf(s, ms);
        for _ in 0..n {
            map(s, ms, LEAF + 4 * PAGE, PAGE);
            let _ = s.fault(ms, LEAF + 4 * PAGE, Access::Write);
            unmap(s, ms, LEAF + 4 * PAGE, PAGE);
        }
    })
    .less("map-fault"),
    operation("map-fault", "", |s, ms, n| {
        heap(s, ms, n + 1);
        for i in 1..=n {
            map(s, ms, LEAF + 64 * PAGE, PAGE);
            let _ = s.fault(ms, LEAF + i * PAGE, Access::Write);
        }
    }),
    operation("protect", "protect of one untouched page, read-only and back", |s, ms, n| {
        heap(s, ms, 64);
        for i in 0..n {
            let rights = if i % 2 == 0 { Rights::READ } else { RW };
            let _ = s.protect(ms, LEAF + 8 * PAGE, PAGE, rights);
        }
    })
    .at_most(1200),
    operation("dont-need", "don't-need of one touched page and the fault after it", |s, ms, n| {
        heap(s, ms, 64);
        for _ in 0..n {
            let _ = s.fault(ms, LEAF + 8 * PAGE, Access::Write);
            let _ = s.advise(ms, LEAF + 8 * PAGE, PAGE, Advice::DontNeed);
        }
    }),
    operation("steal", "stealing a dirty page, to a device that does nothing", |s, ms, n| {
        dirty(s, ms, n);
        page_out(s, ms, n);
    })
    .less("fault"),
    operation("bring-back", "fault that brings it back", |s, ms, n| {
        dirty(s, ms, n);
        page_out(s, ms, n);
        read(s, ms, n);
    })
    .less("steal"),
    operation("steal-clean", "stealing it again, unwritten", |s, ms, n| {
        dirty(s, ms, n);
        page_out(s, ms, n);
        read(s, ms, n);
        page_out(s, ms, n);
    })
    .less("bring-back"),
    operation("age", "ageing a page that was used, among 256", |s, ms, n| {
        used(s, ms);
        (0..n).for_each(|_| {
            use_again(s, ms);
            s.vm().age(ms);
        });
    })
    .less("use")
    .over(AGED),
    operation("use", "", |s, ms, n| {
        used(s, ms);
        (0..n).for_each(|_| use_again(s, ms));
    }),
    operation("map-64k", "map of a misaligned 64 KiB", |s, ms, n| {
        (0..n).for_each(|_| map(s, ms, AT + PAGE, 64 * KIB));
    }),
    operation("map-1g", "map of a misaligned 1 GiB - 8 KiB", |s, ms, n| {
        (0..n).for_each(|_| map(s, ms, AT + PAGE, GIB - 8 * KIB));
    }),
    operation("unmap-64k", "unmap of a misaligned 64 KiB", |s, ms, n| {
        for _ in 0..n {
            map(s, ms, AT + PAGE, 64 * KIB);
            unmap(s, ms, AT + PAGE, 64 * KIB);
        }
    })
    .less("map-64k"),
    operation("unmap-1g", "unmap of a misaligned 1 GiB - 8 KiB", |s, ms, n| {
        for _ in 0..n {
            map(s, ms, AT + PAGE, GIB - 8 * KIB);
            unmap(s, ms, AT + PAGE, GIB - 8 * KIB);
        }
    })
    .less("map-1g"),
    operation("protect-64k", "protect of a misaligned 64 KiB", |s, ms, n| {
        map(s, ms, AT, 2 * GIB);
        toggle(s, ms, 64 * KIB, n);
    }),
    operation("protect-1g", "protect of a misaligned 1 GiB - 8 KiB", |s, ms, n| {
        map(s, ms, AT, 2 * GIB);
        toggle(s, ms, GIB - 8 * KIB, n);
    }),
    operation("fork-64k", "fork and exit, 64 KiB mapped and untouched", |s, ms, n| {
        map(s, ms, AT + PAGE, 64 * KIB);
        fork(s, ms, n);
    }),
    operation("fork-1g", "fork and exit, 1 GiB mapped and untouched", |s, ms, n| {
        map(s, ms, AT + PAGE, GIB);
        fork(s, ms, n);
    }),
    operation("fork-touched", "fork and exit, 256 touched pages", |s, ms, n| {
        heap(s, ms, 256);
        touch(s, ms, 0, 256);
        fork(s, ms, n);
    }),
];

/// The operation of that name.
pub fn find(name: &str) -> Option<&'static Operation> {
    ALL.iter().find(|operation| operation.name == name)
}

fn map(s: &World<'_>, ms: &mut MaySleep, at: u64, length: u64) {
    let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(at) };
    assert!(s.map(ms, map).is_ok());
}

fn unmap(s: &World<'_>, ms: &mut MaySleep, at: u64, length: u64) {
    assert!(s.unmap(ms, at, length).is_ok());
}

/// Maps `pages` pages in the middle of a leaf and touches the first.
fn heap(s: &World<'_>, ms: &mut MaySleep, pages: u64) {
    map(s, ms, LEAF, pages * PAGE);
    touch(s, ms, 0, 1);
}

/// Makes the leaf exist, with a touched page and a hole behind it.
fn leaf(s: &World<'_>, ms: &mut MaySleep) {
    heap(s, ms, 1);
}

fn touch(s: &World<'_>, ms: &mut MaySleep, first: u64, pages: u64) {
    for i in first..first + pages {
        let _ = s.fault(ms, LEAF + i * PAGE, Access::Write);
    }
}

/// Maps and writes `n` pages, for which there is swap.
fn dirty(s: &World<'_>, ms: &mut MaySleep, n: u64) {
    assert!(s.vm().swap_on(ms, 1, 4096, 0).is_ok());
    heap(s, ms, n + 1);
    touch(s, ms, 1, n);
}

fn page_out(s: &World<'_>, ms: &mut MaySleep, n: u64) {
    let _ = s.advise(ms, LEAF + PAGE, n * PAGE, Advice::PageOut);
}

fn read(s: &World<'_>, ms: &mut MaySleep, n: u64) {
    for i in 1..=n {
        let _ = s.fault(ms, LEAF + i * PAGE, Access::Read);
    }
}

/// Pages that grow older together.
const AGED: u64 = 256;

fn used(s: &World<'_>, ms: &mut MaySleep) {
    heap(s, ms, AGED);
    touch(s, ms, 0, AGED);
}

/// Sets the accessed bits, as a processor does.
fn use_again(s: &World<'_>, ms: &mut MaySleep) {
    let guard = s.vm().walk(ms);
    for i in 0..AGED {
        let _ = s.fault_atomic(&guard, LEAF + i * PAGE, Access::Read);
    }
}

fn toggle(s: &World<'_>, ms: &mut MaySleep, length: u64, n: u64) {
    for i in 0..n {
        let rights = if i % 2 == 0 { Rights::READ } else { RW };
        let _ = s.protect(ms, AT + PAGE, length, rights);
    }
}

fn fork(s: &World<'_>, ms: &mut MaySleep, n: u64) {
    for _ in 0..n {
        if let Ok(child) = s.fork(ms) {
            child.exit(ms);
        }
    }
}
