//! `threads [THREADS [ROUNDS]]`: threads that map, protect, replace and unmap, each in a range of its
//! own and all in a shared range, and verify what they see after every step.
//!
//! In the shared range each thread changes only its own pages, which lie between those of the others,
//! and reads everybody's: at any time a page holds zeros or the pattern of its owner.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guests::map::SPREAD;
use guests::sync::Mutex;
use guests::syscall::prot;
use guests::{Args, Map, Rng, expect, println, thread};

guests::main!(main);

/// Pages of a thread, in its own range and in the shared one.
const PAGES: usize = 12;

fn main(args: Args) {
    let (threads, rounds) = (args.number(1, 4).max(1), args.number(2, 50));
    let shared = Map::private(threads * PAGES);
    let counter = Mutex::new(0usize);
    let sum = AtomicU64::new(0);
    thread::run(threads, |index| {
        let me = Thread { index, threads, shared };
        let mut rng = Rng::new(index as u64);
        for round in 0..rounds {
            let own = me.own_range(round, &mut rng);
            let common = me.shared_range(round, &mut rng);
            sum.fetch_add(own.wrapping_add(common), Relaxed);
            counter.with(|count| *count += 1);
        }
    });
    expect!(threads * rounds, counter.with(|count| *count), "counter under a futex lock");
    let sum = sum.load(Relaxed);
    println!("threads: {threads} threads, {rounds} rounds, checksum {sum:016x}");
    println!("ok");
}

struct Thread {
    index: usize,
    threads: usize,
    shared: Map,
}

impl Thread {
    fn tag(&self, round: usize) -> u64 {
        (self.index as u64 + 1) << 12 | (round as u64 & 0xfff)
    }

    /// A life of a range: made, written, protected, given back in part, unmapped piece by piece.
    fn own_range(&self, round: usize, rng: &mut Rng) -> u64 {
        let (me, tag) = (self.index, self.tag(round));
        let own = Map::private(PAGES);
        own.check(0..PAGES, 0, format_args!("thread {me} round {round}: own, new"));
        own.fill(0..PAGES, tag);
        own.check(0..PAGES, tag, format_args!("thread {me} round {round}: own, written"));
        let cut = 1 + rng.below(PAGES - 1);
        own.protect(0..cut, prot::READ);
        own.check(0..PAGES, tag, format_args!("thread {me} round {round}: own, read-only"));
        own.protect(0..cut, prot::NONE);
        own.protect(0..cut, prot::RW);
        own.check(
            0..PAGES,
            tag,
            format_args!("thread {me} round {round}: own, protected and back"),
        );
        own.dontneed(cut..PAGES);
        own.check(cut..PAGES, 0, format_args!("thread {me} round {round}: own, given back"));
        let sum = own.check(0..cut, tag, format_args!("thread {me} round {round}: own, kept"));
        own.unmap(cut..PAGES);
        own.check(0..cut, tag, format_args!("thread {me} round {round}: own, half unmapped"));
        own.unmap(0..cut);
        sum
    }

    /// A storm on this thread's pages of the shared range, and a look at one page of each thread.
    fn shared_range(&self, round: usize, rng: &mut Rng) -> u64 {
        let (me, tag) = (self.index, self.tag(round));
        let mut sum = 0u64;
        for step in 0..PAGES {
            let page = step * self.threads + me;
            let pages = page..page + 1;
            self.shared.fill(pages.clone(), tag);
            let action = rng.below(4);
            let expected = match action {
                0 => {
                    self.shared.dontneed(pages.clone());
                    0
                }
                1 => {
                    self.shared.replace(pages.clone());
                    0
                }
                2 => {
                    self.shared.protect(pages.clone(), prot::READ);
                    tag
                }
                _ => tag,
            };
            let what = format_args!("thread {me} round {round} action {action}: shared");
            sum = sum.wrapping_add(self.shared.check(pages.clone(), expected, what));
            self.shared.protect(pages.clone(), prot::RW);
            self.shared.fill(pages.clone(), tag);
            sum = sum.wrapping_add(self.shared.check(pages, tag, what));
            self.look(round, rng);
        }
        sum
    }

    fn look(&self, round: usize, rng: &mut Rng) {
        let me = self.index;
        for other in 0..self.threads {
            let page = rng.below(PAGES) * self.threads + other;
            let what = format_args!("thread {me} round {round} looks at thread {other}'s page");
            let tag = self.shared.owner(page, rng.below(SPREAD), what);
            if tag != 0 {
                expect!(other as u64 + 1, tag >> 12, "{what} {page}: owner");
            }
        }
    }
}
