//! Policies over a trace, each in one rule: whom to give up, of the pages that are in memory.

use super::trace::Trace;
use std::collections::{BTreeSet, HashMap};

/// Whom it gives up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Whoever was brought in first.
    Fifo,
    /// Whoever was touched longest ago.
    Lru,
    /// Whoever will be touched last: Belady's optimum, which has to know the future.
    Belady,
}

/// How often a page is brought in that was in memory before, with so many frames.
pub fn refaults(policy: Policy, trace: &Trace, frames: usize) -> u64 {
    let next = next_touches(&trace.pages);
    // Pages in memory by rank: the first is the next to go.
    let mut order = BTreeSet::new();
    let mut rank = HashMap::new();
    let mut seen = vec![false; trace.range as usize];
    let mut refaults = 0;
    for (time, page) in trace.pages.iter().copied().enumerate() {
        let old = rank.get(&page).copied();
        match old {
            Some(old) => {
                order.remove(&(old, page));
            }
            None => {
                refaults += u64::from(std::mem::replace(&mut seen[page as usize], true));
                if order.len() == frames
                    && let Some((_, victim)) = order.pop_first()
                {
                    rank.remove(&victim);
                }
            }
        }
        let new = match policy {
            Policy::Fifo => old.unwrap_or(time),
            Policy::Lru => time,
            Policy::Belady => usize::MAX - next[time],
        };
        rank.insert(page, new);
        order.insert((new, page));
    }
    refaults
}

/// For each touch, when the same page is touched next; never: the end of time.
fn next_touches(pages: &[u32]) -> Vec<usize> {
    let mut last = HashMap::new();
    let mut next: Vec<usize> = pages
        .iter()
        .enumerate()
        .rev()
        .map(|(time, page)| last.insert(*page, time).unwrap_or(usize::MAX))
        .collect();
    next.reverse();
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Belady's anomaly (Belady, Nelson, Shedler, 1969): the string for which more frames mean more
    /// faults under FIFO: 9 with three frames, 10 with four. The first touches of 5 pages are no refaults.
    #[test]
    fn the_textbooks_string_has_the_textbooks_faults() {
        let pages = vec![1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5];
        let trace = Trace { what: "", pages, range: 6, scan: false };
        let of = |policy, frames| refaults(policy, &trace, frames) + 5;
        assert_eq!([3, 4].map(|frames| of(Policy::Fifo, frames)), [9, 10]);
        assert_eq!([3, 4].map(|frames| of(Policy::Lru, frames)), [10, 8]);
        assert_eq!([3, 4].map(|frames| of(Policy::Belady, frames)), [7, 6]);
    }
}
