//! Which cache lines operations touch, and that those on different leaves write none in common.
//!
//! Run with `RUSTFLAGS="--cfg vmspace_count_lines" cargo test -p vmspace --test conflicts --
//! --nocapture`, which prints the table. CPU 0 works in a leaf of one 1-GiB area, CPU 1 in a leaf of
//! another, on frames of their own; everything has been done often before. Every operation of the
//! one is held against every operation of the other: no line that one writes is touched by the
//! other, but for what stands in [`EXCEPTIONS`].
//!
//! Counted are all atomics of the library (tables, metadata, layouts, references, totals,
//! statistics, per-CPU blocks, allocator, slab) and the links of free slab objects. Not counted are
//! the bytes of pages, and what never changes while a manager lives.
#![cfg(vmspace_count_lines)]

#[macro_use]
mod host;

use host::{Host, be_cpu};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use vmspace::format::{Format, Geometry, Rights};
use vmspace::sync::counting::{Lines, record};
use vmspace::{Access, Advice, Map, MaySleep, Space};

const RW: Rights = Rights::READ.union(Rights::WRITE);

/// How often each operation is done and recorded.
const ROUNDS: usize = 256;

/// A conflict that is allowed.
struct Exception {
    /// The end of the path of the source that writes the line.
    file: &'static str,
    /// In how many of the [`ROUNDS`] it may happen.
    times: usize,
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[Exception {
    file: "/rcu.rs",
    times: 4,
    why: "once in 64 retirements a CPU looks at all CPUs' readers, and moves the epoch on",
}];

/// An operation: what is recorded, between what makes it possible and what undoes it.
struct Operation {
    name: &'static str,
    before: fn(&mut Site<'_, '_, '_>),
    what: fn(&mut Site<'_, '_, '_>),
    after: fn(&mut Site<'_, '_, '_>),
}

/// The calls that operations are made of, whatever the format.
trait Calls {
    fn map(&self, ms: &mut MaySleep, address: u64, pages: u64);
    fn unmap(&self, ms: &mut MaySleep, address: u64, pages: u64);
    fn protect(&self, ms: &mut MaySleep, address: u64, pages: u64, rights: Rights);
    fn dont_need(&self, ms: &mut MaySleep, address: u64, pages: u64);
    fn fault(&self, ms: &mut MaySleep, address: u64, access: Access);
    fn pin_fast(&self, ms: &mut MaySleep, address: u64);
    fn page(&self) -> u64;
    fn table_pages(&self) -> u64;
}

impl<F: Format> Calls for Space<'_, Host<F>> {
    fn map(&self, ms: &mut MaySleep, address: u64, pages: u64) {
        let map = Map::anonymous(pages << F::PAGE_SHIFT, RW).at(address);
        self.map(ms, Map { no_reserve: true, ..map }).unwrap();
    }

    fn unmap(&self, ms: &mut MaySleep, address: u64, pages: u64) {
        self.unmap(ms, address, pages << F::PAGE_SHIFT).unwrap();
    }

    fn protect(&self, ms: &mut MaySleep, address: u64, pages: u64, rights: Rights) {
        self.protect(ms, address, pages << F::PAGE_SHIFT, rights).unwrap();
    }

    fn dont_need(&self, ms: &mut MaySleep, address: u64, pages: u64) {
        self.advise(ms, address, pages << F::PAGE_SHIFT, Advice::DontNeed).unwrap();
    }

    fn fault(&self, ms: &mut MaySleep, address: u64, access: Access) {
        self.fault(ms, address, access).unwrap();
    }

    fn pin_fast(&self, ms: &mut MaySleep, address: u64) {
        drop(self.pin_fast(&self.vm().walk(ms), address, true).expect("it is there"));
    }

    fn page(&self) -> u64 {
        F::PAGE_SIZE
    }

    fn table_pages(&self) -> u64 {
        F::table_pages(0)
    }
}

/// Where a CPU works: from `base` on all is mapped, but for eight pages from the 32nd on.
struct Site<'s, 'm, 'c> {
    calls: &'s dyn Calls,
    ms: &'m mut MaySleep,
    base: u64,
    cpu: &'c usize,
}

const MAPPED: u64 = 8;
const HOLE: u64 = 32;

impl Site<'_, '_, '_> {
    fn at(&self, page: u64) -> u64 {
        self.base + page * self.calls.page()
    }

    fn map(&mut self, page: u64) {
        self.calls.map(self.ms, self.at(page), 4);
    }

    fn unmap(&mut self, page: u64) {
        self.calls.unmap(self.ms, self.at(page), 4);
    }

    fn protect(&mut self, rights: Rights) {
        self.calls.protect(self.ms, self.at(MAPPED), 4, rights);
    }

    fn dont_need(&mut self) {
        self.calls.dont_need(self.ms, self.at(MAPPED), 4);
    }

    fn touch(&mut self, access: Access) {
        (0..4).for_each(|n| self.calls.fault(self.ms, self.at(MAPPED + n), access));
    }

    fn pin_fast(&mut self) {
        self.calls.pin_fast(self.ms, self.at(MAPPED));
    }

    fn fault(&mut self, access: Access) {
        self.calls.fault(self.ms, self.at(MAPPED), access);
    }

    /// The leaf table after the one that all else happens in.
    fn table(&self) -> (u64, u64) {
        let pages = self.calls.table_pages();
        (self.at(pages), pages)
    }

    fn fault_in_table(&mut self) {
        let (at, pages) = self.table();
        self.calls.map(self.ms, at, pages);
        self.calls.fault(self.ms, at, Access::Write);
    }

    fn unmap_table(&mut self) {
        let (at, pages) = self.table();
        self.calls.unmap(self.ms, at, pages);
    }
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "map",
        before: |_| {},
        what: |site| site.map(HOLE),
        after: |site| site.unmap(HOLE),
    },
    Operation {
        name: "map over",
        before: |site| site.touch(Access::Write),
        what: |site| site.map(MAPPED),
        after: |_| {},
    },
    Operation {
        name: "unmap",
        before: |site| site.map(HOLE),
        what: |site| site.unmap(HOLE),
        after: |_| {},
    },
    Operation {
        name: "unmap touched",
        before: |site| site.touch(Access::Write),
        what: |site| site.unmap(MAPPED),
        after: |site| site.map(MAPPED),
    },
    Operation {
        name: "protect",
        before: |_| {},
        what: |site| site.protect(Rights::READ),
        after: |site| site.protect(RW),
    },
    Operation {
        name: "protect touched",
        before: |site| site.touch(Access::Write),
        what: |site| site.protect(Rights::READ),
        after: |site| site.protect(RW),
    },
    Operation {
        name: "fault",
        before: |site| site.dont_need(),
        what: |site| site.fault(Access::Write),
        after: |_| {},
    },
    Operation {
        name: "fault on zeros",
        before: |site| site.dont_need(),
        what: |site| site.fault(Access::Read),
        after: |_| {},
    },
    Operation {
        name: "fault after zeros",
        before: |site| {
            site.dont_need();
            site.fault(Access::Read);
        },
        what: |site| site.fault(Access::Write),
        after: |_| {},
    },
    Operation {
        name: "spurious fault",
        before: |site| site.fault(Access::Write),
        what: |site| site.fault(Access::Write),
        after: |_| {},
    },
    Operation {
        name: "fault in a new table",
        before: |site| site.unmap_table(),
        what: |site| site.fault_in_table(),
        after: |_| {},
    },
    Operation {
        name: "unmap a table",
        before: |site| site.fault_in_table(),
        what: |site| site.unmap_table(),
        after: |_| {},
    },
    Operation {
        name: "pin without locks",
        before: |site| site.touch(Access::Write),
        what: |site| site.pin_fast(),
        after: |_| {},
    },
    Operation {
        name: "don't-need",
        before: |site| site.touch(Access::Write),
        what: |site| site.dont_need(),
        after: |_| {},
    },
];

/// Does an operation many times at a site; the lines of each time.
fn rounds(site: &mut Site<'_, '_, '_>, operation: &Operation) -> Vec<Lines> {
    be_cpu(*site.cpu);
    (0..ROUNDS)
        .map(|_| {
            (operation.before)(site);
            let ((), lines) = record(|| (operation.what)(site));
            (operation.after)(site);
            lines
        })
        .collect()
}

/// In how many rounds each line was touched (`written`: written), and where in the source.
fn touched(
    rounds: &[Lines],
    written: bool,
) -> BTreeMap<usize, (usize, &'static Location<'static>)> {
    let mut all = BTreeMap::new();
    for (line, touch) in rounds.iter().flatten() {
        let by = if written { touch.written } else { touch.written.or(touch.read) };
        if let Some(by) = by {
            all.entry(*line).or_insert((0, by)).0 += 1;
        }
    }
    all
}

/// A place in the source that writes a line, and one that touches the same line meanwhile.
type Places = (&'static Location<'static>, &'static Location<'static>);

/// In how many rounds, at most, the one writes what the other touches: by the places that do it.
fn conflicts(writer: &[Lines], other: &[Lines]) -> BTreeMap<Places, usize> {
    let (written, touched) = (touched(writer, true), touched(other, false));
    let mut found = BTreeMap::new();
    for (line, (times, by)) in written {
        if let Some((others, with)) = touched.get(&line) {
            let most = found.entry((by, *with)).or_default();
            *most = times.min(*others).max(*most);
        }
    }
    found
}

/// The conflicts of all pairs of operations: each one's places, the worst count, and the pairs.
#[derive(Default)]
struct Table(BTreeMap<Places, (usize, BTreeSet<String>)>);

impl Table {
    fn add(&mut self, names: (&str, &str), writer: &[Lines], other: &[Lines]) {
        for (places, times) in conflicts(writer, other) {
            let row = self.0.entry(places).or_default();
            row.0 = row.0.max(times);
            row.1.insert(format!("{} | {}", names.0, names.1));
        }
    }

    /// Prints all rows; those that no exception allows.
    fn refused(&self) -> Vec<String> {
        let mut refused = Vec::new();
        for ((written, touched), (times, pairs)) in &self.0 {
            let exception =
                EXCEPTIONS.iter().find(|exception| written.file().ends_with(exception.file));
            let allowed = exception.map_or(0, |exception| exception.times);
            let row = format!(
                "{written} writes what {touched} touches: {times} of {ROUNDS}, allowed {allowed}"
            );
            println!("  {row}, {} pairs: {}", pairs.len(), exception.map_or("", |e| e.why));
            if *times > allowed {
                let pairs: Vec<&str> = pairs.iter().take(4).map(String::as_str).collect();
                refused.push(format!("{row} ({} …)", pairs.join(", ")));
            }
        }
        refused
    }
}

fn work_on_different_leaves_writes_a_common_line<F: Format>() {
    // All leaves hang below one table: what makes or unmaps a leaf has its lock.
    if F::LEVELS == 2 {
        return;
    }
    let vm = Host::<F>::new(8192, 2).manager();
    // SAFETY: a test's own thread, which holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let space = Space::new(&vm, &mut ms).unwrap();
    // What a table above the leaves spans: 1 GiB, where tables have 512 entries.
    let area = F::table_pages(1) << F::PAGE_SHIFT;
    let mut sites = Vec::new();
    for (cpu, base) in [(0, area), (1, 2 * area)] {
        be_cpu(cpu);
        space.enter(cpu);
        space.map(&mut ms, Map::anonymous(64 << F::PAGE_SHIFT, RW).at(base)).unwrap();
        space.unmap(&mut ms, base + (HOLE << F::PAGE_SHIFT), 8 << F::PAGE_SHIFT).unwrap();
        for page in 0..32 {
            space.fault(&mut ms, base + (page << F::PAGE_SHIFT), Access::Write).unwrap();
        }
        sites.push((cpu, base));
    }
    let mut recorded: Vec<Vec<Vec<Lines>>> = Vec::new();
    for (cpu, base) in &sites {
        let mut site = Site { calls: &space, ms: &mut ms, base: *base, cpu };
        let mut all = || OPERATIONS.iter().map(|op| rounds(&mut site, op)).collect::<Vec<_>>();
        // Once for what is done the first time only.
        all();
        recorded.push(all());
    }
    println!("{}: lines read and written, the most in {ROUNDS} rounds", F::NAME);
    for (operation, rounds) in OPERATIONS.iter().zip(&recorded[0]) {
        let most = |written: bool| {
            let count = |lines: &Lines| {
                lines.values().filter(|touch| touch.written.is_some() == written).count()
            };
            rounds.iter().map(count).max().unwrap_or(0)
        };
        println!("  {:20} {:4} {:4}", operation.name, most(false), most(true));
    }
    let mut table = Table::default();
    for (i, one) in recorded[0].iter().enumerate() {
        for (j, two) in recorded[1].iter().enumerate() {
            let (one_name, two_name) = (OPERATIONS[i].name, OPERATIONS[j].name);
            table.add((one_name, two_name), one, two);
            table.add((two_name, one_name), two, one);
        }
    }
    println!("  conflicts among {} pairs:", OPERATIONS.len().pow(2));
    let refused = table.refused();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    space.exit(&mut ms);
}

in_every_format!(work_on_different_leaves_writes_a_common_line);
