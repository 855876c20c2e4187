//! Rivals beside us in the same run: libraries that keep page tables, page by page over 1 GiB whose
//! tables exist, on one thread; and on two, each with a gigabyte of its own.
//!
//! All of them take `&mut self`, so two threads meet at a mutex, locked for each page as a kernel's
//! faults would. Ours locks its range once on each thread: that is what the transaction is for.
//! Tables are the host's memory, physical addresses its pointers; nobody flushes a TLB.

mod aarch64_paging;
mod generic;
mod memory_set;
mod multiarch;
mod x86_64;

use super::{PAGES, ROUNDS, library, median};
use std::alloc::{Layout, alloc_zeroed};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Bytes of a page, of all rivals.
const PAGE: u64 = 4096;
/// The first page that is mapped.
const FIRST: u64 = 1 << 28;

/// A rival: each call is about one page.
trait Rival: Send {
    fn map(&mut self, page: u64);
    fn translate(&self, page: u64);
    fn protect(&mut self, page: u64);
    fn unmap(&mut self, page: u64);
}

/// What is timed.
pub const STEPS: [&str; 4] = ["map", "translate", "protect", "unmap"];

/// Nanoseconds a page, by step.
pub type Times = [f64; STEPS.len()];

/// One library on one thread and on two.
pub struct Row {
    pub name: &'static str,
    pub one: Times,
    pub two: Times,
}

/// Measures them all, us first.
pub fn all() -> Vec<Row> {
    eprintln!("timing: rivals");
    vec![
        library::row(),
        row::<multiarch::Table>("page_table_multiarch"),
        row::<generic::Table>("page-table-generic"),
        row::<x86_64::Table>("x86_64, MappedPageTable"),
        row::<aarch64_paging::Table>("aarch64-paging"),
        row::<memory_set::Set>("memory_set over page_table_multiarch"),
    ]
}

fn row<R: Rival + Default>(name: &'static str) -> Row {
    let rival = Mutex::new(R::default());
    Row { name, one: rounds(|step| alone(&rival, step)), two: rounds(|step| both(&rival, step)) }
}

/// Medians, in nanoseconds a page, after a round that makes the tables. `run` does a step and says
/// over how many pages.
pub fn rounds(mut run: impl FnMut(usize) -> u64) -> Times {
    let mut times = [[0.0; ROUNDS]; STEPS.len()];
    for step in 0..STEPS.len() {
        run(step);
    }
    for round in 0..ROUNDS {
        for (step, times) in times.iter_mut().enumerate() {
            let start = Instant::now();
            let pages = run(step);
            times[round] = start.elapsed().as_nanos() as f64 / pages as f64;
        }
    }
    times.map(median)
}

fn alone(rival: &Mutex<impl Rival>, step: usize) -> u64 {
    let mut rival = rival.lock().unwrap();
    (0..PAGES).for_each(|n| one(&mut *rival, step, FIRST, n));
    PAGES
}

fn both(rival: &Mutex<impl Rival>, step: usize) -> u64 {
    thread::scope(|scope| {
        for first in [FIRST, FIRST + PAGES] {
            scope.spawn(move || {
                (0..PAGES).for_each(|n| one(&mut *rival.lock().unwrap(), step, first, n));
            });
        }
    });
    2 * PAGES
}

fn one(rival: &mut impl Rival, step: usize, first: u64, n: u64) {
    match step {
        0 => rival.map(first + n),
        1 => rival.translate(first + super::shuffle(n)),
        2 => rival.protect(first + n),
        _ => rival.unmap(first + n),
    }
}

/// A page for a table, for the length of the process.
fn table_page() -> usize {
    let layout = Layout::from_size_align(PAGE as usize, PAGE as usize).expect("a page");
    // SAFETY: the size is not zero.
    unsafe { alloc_zeroed(layout) as usize }
}
