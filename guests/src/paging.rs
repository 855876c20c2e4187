//! What a program does that pages: it fills memory, then touches it page by page, in order or at
//! random; each touch verifies a word of every cache line and writes the next. Half of a page is random,
//! half zeros.
//!
//! The benchmarks include this file: the same touches natively, on the machine, and over the library
//! alone.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Words of a cache line.
const LINE: usize = 8;

/// In which order a round touches the pages.
#[derive(Clone, Copy)]
enum Order {
    Sequential,
    Random,
}

impl Order {
    /// The `turn`-th of so many pages, a power of two: each once in as many turns, and at random in
    /// another order each round.
    fn page(self, round: usize, turn: usize, pages: usize) -> usize {
        match self {
            Order::Sequential => turn,
            // What is multiplied by an odd number, or mixed with its own upper bits, can be undone.
            Order::Random => {
                let turn = turn * (0x9E37_79B1 + 2 * round);
                let turn = turn & (pages - 1);
                ((turn ^ turn >> 5) * 0x85EB_CA6B) & (pages - 1)
            }
        }
    }
}

/// What time it is, and how many pages have gone out to swap and come back; or the differences.
#[allow(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub nanoseconds: u64,
    pub out: u64,
    pub back: u64,
}

impl Progress {
    fn since(self, then: Progress) -> Progress {
        Progress {
            nanoseconds: self.nanoseconds - then.nanoseconds,
            out: self.out - then.out,
            back: self.back - then.back,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ns, {} out, {} back", self.nanoseconds, self.out, self.back)
    }
}

/// The whole program, on a power of two of pages: so many rounds in order, then as many at random. What
/// each took. `page` gives a page's words, with a fault or without.
///
/// # Errors
/// The page that does not hold what was written to it.
pub fn run<'a>(
    pages: usize,
    rounds: usize,
    mut page: impl FnMut(usize) -> &'a [AtomicU64],
    progress: impl Fn() -> Progress,
) -> Result<[Progress; 2], usize> {
    fill(pages, &mut page);
    let mut phase = |order, before| -> Result<Progress, usize> {
        let began = progress();
        for before in before..before + rounds {
            round(order, before, pages, &mut page)?;
        }
        Ok(progress().since(began))
    };
    Ok([phase(Order::Sequential, 0)?, phase(Order::Random, rounds)?])
}

/// Writes the first pattern into every page.
fn fill<'a>(pages: usize, mut page: impl FnMut(usize) -> &'a [AtomicU64]) {
    for number in 0..pages {
        let words = page(number);
        for (place, word) in words[..words.len() / 2].iter().enumerate() {
            word.store(value(number, place), Relaxed);
        }
    }
}

/// Touches every page once, after so many rounds before.
fn round<'a>(
    order: Order,
    before: usize,
    pages: usize,
    mut page: impl FnMut(usize) -> &'a [AtomicU64],
) -> Result<(), usize> {
    for turn in 0..pages {
        let number = order.page(before, turn, pages);
        let words = page(number);
        for place in (0..words.len()).step_by(LINE) {
            let first = if place < words.len() / 2 { value(number, place) } else { 0 };
            let expected = first.wrapping_add(before as u64);
            if words[place].load(Relaxed) != expected {
                return Err(number);
            }
            words[place].store(expected.wrapping_add(1), Relaxed);
        }
    }
    Ok(())
}

/// A word that tells its page and place and that nothing compresses (SplitMix64's last steps).
fn value(page: usize, place: usize) -> u64 {
    let mut z = ((page as u64) << 16 | place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// How many pages have gone out to swap and have come in, as /proc/vmstat tells.
pub fn swapped(vmstat: &str) -> Option<(u64, u64)> {
    let of = |name: &str| {
        let mut lines = vmstat.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(what, _)| *what == name)?.1.trim().parse().ok()
    };
    Some((of("pswpout")?, of("pswpin")?))
}
