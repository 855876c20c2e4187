//! Times beside a yardstick in the same run: a hand-written bare walk with one atomic
//! read-modify-write for each entry, which is what an entry that others can see costs at least.
//!
//! Both go through the same cycle (map, translate, protect, unmap; one by one, then as a range)
//! over 1 GiB of base pages whose tables exist, in turns; each figure is the median of five.

mod bare;
mod library;
pub mod regions;
pub mod rivals;

use std::time::Instant;
use vmspace::format::{Geometry, Sv48};

/// 1 GiB of base pages.
const PAGES: u64 = 1 << 18;
const PAGE: u64 = Sv48::PAGE_SIZE;
const ROUNDS: usize = 5;

/// What is timed: the cycle, over `PAGES` pages.
trait Subject {
    fn map_each(&mut self);
    fn translate(&mut self);
    fn protect_each(&mut self);
    fn unmap_each(&mut self);
    fn map_range(&mut self);
    fn protect_range(&mut self);
    fn unmap_range(&mut self);
}

/// One comparison: nanoseconds a page.
pub struct Time {
    pub what: &'static str,
    pub yardstick: f64,
    pub ours: f64,
    /// The ratio that is aimed at.
    pub aim: f64,
}

/// A step of the cycle, and the ratio that is aimed at.
type Step = (&'static str, f64, fn(&mut dyn Subject));

const STEPS: [Step; 7] = [
    ("map singly", 1.3, |s| s.map_each()),
    ("translate at random", 1.3, |s| s.translate()),
    ("protect singly", 1.3, |s| s.protect_each()),
    ("unmap singly", 1.3, |s| s.unmap_each()),
    ("map a range", 1.5, |s| s.map_range()),
    ("protect a range", 1.5, |s| s.protect_range()),
    ("unmap a range", 1.5, |s| s.unmap_range()),
];

/// All that is timed in this process.
pub struct Times {
    pub cycle: Vec<Time>,
    pub rivals: Vec<rivals::Row>,
    pub regions: regions::Regions,
}

impl Times {
    /// Measures everything.
    pub fn measure() -> Times {
        // First, since it wants the host for itself.
        let regions = regions::all();
        Times { cycle: cycle(), rivals: rivals::all(), regions }
    }
}

/// Beside the bare walk.
fn cycle() -> Vec<Time> {
    let vm = crate::world::manager();
    let (mut bare, mut library) = (bare::Bare::new(), library::Library::new(&vm));
    let mut times = [[[0.0; ROUNDS]; 2]; STEPS.len()];
    for round in 0..ROUNDS {
        eprintln!("timing: round {} of {ROUNDS}", round + 1);
        for (which, subject) in
            [&mut bare as &mut dyn Subject, &mut library].into_iter().enumerate()
        {
            for ((_, _, run), times) in STEPS.iter().zip(&mut times) {
                let start = Instant::now();
                run(subject);
                times[which][round] = start.elapsed().as_nanos() as f64 / PAGES as f64;
            }
        }
    }
    let row = |((what, aim, _), times): (&Step, [[f64; ROUNDS]; 2])| {
        let [yardstick, ours] = times.map(median);
        Time { what, yardstick, ours, aim: *aim }
    };
    STEPS.iter().zip(times).map(row).collect()
}

pub fn median(mut times: [f64; ROUNDS]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// The pages in an order that no cache foresees: every one once.
fn shuffled() -> impl Iterator<Item = u64> {
    (0..PAGES).map(shuffle)
}

/// The `n`-th page in that order.
fn shuffle(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B1) % PAGES
}
