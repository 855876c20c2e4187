//! Traces of page numbers: a hot set that is touched at random, and a scan that passes over it.
//!
//! They are made for a memory of so many frames, and always the same ones for the same number.

use vmspace_machine::random::SplitMix64;

/// Which pages are touched, in order.
pub struct Trace {
    pub what: &'static str,
    pub pages: Vec<u32>,
    /// How many pages there are: numbers are below this.
    pub range: u32,
    /// Whether it is a scan beside a hot set: what the policy is there for.
    pub scan: bool,
}

/// A trace is so many times as long as there are frames.
const LENGTH: u32 = 60;

/// All that is ever hot is no more, in memories; the scan lies behind it.
const HOT: u32 = 12;

/// Nor is a scan that passes once: a quarter of all touches.
const ONCE: u32 = LENGTH * 3 / 10;

/// What is hot.
#[derive(Clone, Copy)]
enum Hot {
    /// Each page of the set as often as any other.
    Even,
    /// The n-th page 1/n^0.8 as often as the first.
    Zipf,
    /// Evenly, and every 40 touches the set moves on by a page.
    Sliding,
    /// Evenly, and after six times the memory another set is hot.
    Replaced,
}

/// A trace in words of the memory's size; what follows is in eighths of it.
struct Mix {
    what: &'static str,
    hot: Hot,
    size: u32,
    /// The length of the scan, which begins again when it has ended; 0: it never comes back.
    scan: u32,
    /// One touch in so many is the scan's; 0: there is none.
    one_in: u64,
}

const MIXES: [Mix; 8] = [
    mix("hot 1/2, scan of 4, 3 : 1", Hot::Even, 4, 32, 4),
    mix("hot 3/4, scan of 4, 3 : 1", Hot::Even, 6, 32, 4),
    mix("hot 7/8, scan of 4, 7 : 1", Hot::Even, 7, 32, 8),
    mix("hot 3/4, scan that passes once, 3 : 1", Hot::Even, 6, 0, 4),
    mix("Zipf over 2, scan of 4, 7 : 1", Hot::Zipf, 16, 32, 8),
    mix("hot 3/4 sliding on, scan of 4, 7 : 1", Hot::Sliding, 6, 32, 8),
    mix("hot 3/4 replaced at once, scan of 4, 7 : 1", Hot::Replaced, 6, 32, 8),
    mix("Zipf over 2, no scan", Hot::Zipf, 16, 32, 0),
];

const fn mix(what: &'static str, hot: Hot, size: u32, scan: u32, one_in: u64) -> Mix {
    Mix { what, hot, size, scan, one_in }
}

/// All traces for a memory of so many frames.
pub fn all(frames: u32) -> impl Iterator<Item = Trace> {
    MIXES.iter().map(move |mix| mix.trace(frames))
}

/// The most pages that a trace for so many frames has.
pub fn most_pages(frames: u32) -> u32 {
    (HOT + ONCE) * frames
}

impl Mix {
    fn trace(&self, frames: u32) -> Trace {
        let mut random = SplitMix64::new(1);
        let hot = self.size * frames / 8;
        let shares = Shares::new(hot, if matches!(self.hot, Hot::Zipf) { 0.8 } else { 0.0 });
        let length = LENGTH * frames;
        let behind = HOT * frames;
        let around = if self.scan == 0 { ONCE * frames } else { self.scan * frames / 8 };
        let mut scanned = 0;
        let mut touch = |time: u32| {
            if self.one_in != 0 && random.below(self.one_in) == 0 {
                scanned += 1;
                return behind + scanned % around;
            }
            let first = match self.hot {
                Hot::Even | Hot::Zipf => 0,
                Hot::Sliding => time / 40,
                Hot::Replaced => time / (6 * frames) * frames,
            };
            first + shares.draw(&mut random)
        };
        let pages = (0..length).map(&mut touch).collect();
        Trace { what: self.what, pages, range: behind + around, scan: self.one_in != 0 }
    }
}

/// How often each of some pages is drawn: sums of weights.
struct Shares(Vec<f64>);

impl Shares {
    /// The n-th page weighs `1/n^exponent`.
    fn new(pages: u32, exponent: f64) -> Shares {
        let weights = (1..=pages).map(|n| f64::from(n).powf(-exponent));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Shares(sums.collect())
    }

    fn draw(&self, random: &mut SplitMix64) -> u32 {
        let all = self.0.last().copied().unwrap_or(0.0);
        let at = random.below(1 << 53) as f64 / (1u64 << 53) as f64 * all;
        self.0.partition_point(|sum| *sum <= at) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_beyond_the_range_would_lie_in_nobodys_mapping() {
        for trace in all(64) {
            assert!(trace.pages.iter().all(|page| *page < trace.range), "{}", trace.what);
            assert!(trace.range <= most_pages(64));
        }
    }

    #[test]
    fn the_scan_has_its_share_and_the_hot_set_its_size() {
        let trace = all(64).next().expect("there is one");
        let scanned = trace.pages.iter().filter(|page| **page >= HOT * 64).count();
        assert_eq!(trace.pages.len(), LENGTH as usize * 64);
        assert!(scanned.abs_diff(60 * 16) < 100, "{scanned}");
        let hot: std::collections::BTreeSet<_> =
            trace.pages.iter().filter(|page| **page < HOT * 64).collect();
        assert_eq!(hot.len(), 32);
    }
}
