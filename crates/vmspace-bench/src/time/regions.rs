//! Spaces of many regions: looking one up, taking one out and putting it back; listing; moving;
//! and two threads that map and unmap ranges of their own in one space.

use super::{PAGE, ROUNDS, median};
use crate::world::{self, Manager, World};
use std::hint::black_box;
use std::time::{Duration, Instant};
use std::{fs, thread};
use vmspace::format::Rights;
use vmspace::{Access, Map, MaySleep, Remap, Space};

const AT: u64 = 1 << 40;
const GIB: u64 = 1 << 30;
const RW: Rights = Rights::READ.union(Rights::WRITE);
/// How often something is done for one time.
const TURNS: u64 = 100_000;

/// Numbers of regions, with Linux's maple tree's nanoseconds for a lookup there.
const SIZES: [(u64, f64); 3] = [(20, 19.0), (1_000, 35.0), (40_000, 60.0)];

/// A space of so many regions.
pub struct Many {
    pub regions: u64,
    pub maple_lookup: f64,
    /// Nanoseconds.
    pub lookup: f64,
    pub erase_insert: f64,
}

/// Something timed alone, in nanoseconds.
pub struct Alone {
    pub what: &'static str,
    pub time: f64,
}

/// All of it.
pub struct Regions {
    pub many: Vec<Many>,
    pub alone: Vec<Alone>,
    /// How much more two threads do than one; or why it was not measured.
    pub two_threads: Result<f64, String>,
}

/// Measures everything.
pub fn all() -> Regions {
    eprintln!("timing: regions");
    let two_threads = two_threads();
    let vm = world::manager();
    let alone = vec![
        Alone { what: "remap of 256 touched pages and back, a page", time: remap(&vm, 256, 1) },
        Alone { what: "remap of an aligned 2 MiB, touched, and back", time: remap(&vm, 512, 512) },
        Alone { what: "a listing of 10,000 regions, a region", time: listing(&vm) },
    ];
    Regions { many: SIZES.map(|size| many(&vm, size)).into(), alone, two_threads }
}

fn with_space<R>(vm: &Manager, body: impl FnOnce(&World<'_>, &mut MaySleep) -> R) -> R {
    // SAFETY: this thread may sleep, and holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let space = Space::new(vm, &mut ms).expect("there is memory");
    let result = body(&space, &mut ms);
    space.exit(&mut ms);
    vm.synchronize(&mut ms);
    result
}

/// The median time of a turn, in nanoseconds.
fn turns(turns: u64, mut turn: impl FnMut(u64)) -> f64 {
    let mut round = || {
        let start = Instant::now();
        (0..turns).for_each(&mut turn);
        start.elapsed().as_nanos() as f64 / turns as f64
    };
    round();
    median([(); ROUNDS].map(|()| round()))
}

/// The address of the `n`-th region: one page, a hole behind it.
fn region(n: u64) -> u64 {
    AT + 2 * n * PAGE
}

fn map(space: &World<'_>, ms: &mut MaySleep, at: u64, length: u64) {
    let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(at) };
    space.map(ms, map).expect("there is memory");
}

fn unmap(space: &World<'_>, ms: &mut MaySleep, at: u64, length: u64) {
    space.unmap(ms, at, length).expect("there is memory");
}

fn fill(space: &World<'_>, ms: &mut MaySleep, regions: u64) {
    (0..regions).for_each(|n| map(space, ms, region(n), PAGE));
}

fn many(vm: &Manager, (regions, maple_lookup): (u64, f64)) -> Many {
    with_space(vm, |space, ms| {
        fill(space, ms, regions);
        let at = |turn: u64| region(turn.wrapping_mul(0x9E37_79B1) % regions);
        let lookup = turns(TURNS, |turn| {
            black_box(space.next_region(ms, at(turn)));
        });
        let erase_insert = turns(TURNS, |turn| {
            unmap(space, ms, at(turn), PAGE);
            map(space, ms, at(turn), PAGE);
        });
        Many { regions, maple_lookup, lookup, erase_insert }
    })
}

fn listing(vm: &Manager) -> f64 {
    const REGIONS: u64 = 10_000;
    with_space(vm, |space, ms| {
        fill(space, ms, REGIONS);
        let time = turns(10, |_| {
            space.for_each_region(ms, |region| {
                black_box(region);
            });
        });
        time / REGIONS as f64
    })
}

/// There and back, in nanoseconds for `per` pages; where they lie is aligned to 2 MiB.
fn remap(vm: &Manager, pages: u64, per: u64) -> f64 {
    with_space(vm, |space, ms| {
        let (length, away) = (pages * PAGE, AT + GIB);
        map(space, ms, AT, length);
        (0..pages).for_each(|n| {
            space.fault(ms, AT + n * PAGE, Access::Write).expect("there is memory");
        });
        let mut go = |address, new_address| {
            let remap = Remap {
                address,
                old_length: length,
                new_length: length,
                may_move: true,
                fixed: true,
                new_address,
                ..Remap::default()
            };
            space.remap(ms, remap).expect("there is memory");
        };
        let both = turns(1_000, |_| {
            go(AT, away);
            go(away, AT);
        });
        both / 2.0 * per as f64 / pages as f64
    })
}

/// Two threads that map and unmap 64 KiB of their own beside one thread: how much more is done.
fn two_threads() -> Result<f64, String> {
    if thread::available_parallelism().map_or(1, |n| n.get()) < 2 {
        return Err("there is one processor".into());
    }
    let busy = busy().ok_or("the host does not say how busy it is")?;
    if busy > 0.1 {
        return Err(format!("the host is busy ({:.0} % of it)", busy * 100.0));
    }
    let vm = world::manager();
    Ok(with_space(&vm, |space, ms| {
        for cpu in 0..2 {
            // So that the leaf tables exist.
            map(space, ms, AT + cpu * GIB, PAGE);
            space.fault(ms, AT + cpu * GIB, Access::Write).expect("there is memory");
        }
        let done = |threads: u64| {
            let start = Instant::now();
            thread::scope(|scope| {
                (0..threads).for_each(|cpu| drop(scope.spawn(move || own(space, cpu))))
            });
            threads as f64 / start.elapsed().as_secs_f64()
        };
        median([(); ROUNDS].map(|()| {
            let one = done(1);
            done(2) / one
        }))
    }))
}

fn own(space: &World<'_>, cpu: u64) {
    world::be_cpu(cpu as usize);
    // SAFETY: the thread has just begun, and holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    let at = AT + cpu * GIB + 16 * PAGE;
    for _ in 0..10 * TURNS {
        map(space, ms, at, 16 * PAGE);
        unmap(space, ms, at, 16 * PAGE);
    }
}

/// The share of the host's processors that others have kept busy for a moment.
fn busy() -> Option<f64> {
    // user, nice, system, idle, waiting for input, …
    let ticks = || -> Option<(f64, f64)> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let words = text.lines().next()?.split_whitespace().skip(1);
        let ticks: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
        Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()))
    };
    let (idle, all) = ticks()?;
    thread::sleep(Duration::from_millis(500));
    let (idle_now, all_now) = ticks()?;
    Some(1.0 - (idle_now - idle) / (all_now - all).max(1.0))
}
