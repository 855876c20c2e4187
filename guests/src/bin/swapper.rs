//! `swapper [ROUNDS=20 [KIB=512]]`: turns /dev/swap0 off and on while processes fork, write, verify and
//! exit; wants a machine with that device, and memory for twelve times KIB.
//!
//! Three workers and their children have all their pages swapped out, time and again, so that swapoff
//! meets them in every state that there is: mapped, shared after a fork, just coming back, going away.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::*};
use guests::process::{Child, End, child};
use guests::syscall::{self, Errno};
use guests::{Args, Map, calls, expect, page_size, pattern, println};

guests::main!(main);

const WORKERS: usize = 3;
const PAGEOUT: usize = 21;

fn main(args: Args) {
    let (rounds, kib) = (args.number(1, 20), args.number(2, 512));
    let pages = ((kib << 10) / page_size()).max(4);
    let words = Map::shared(1);
    let (over, lives) = (words.word(0, 0), words.word(0, 1));
    let workers: [Child; WORKERS] = core::array::from_fn(|nth| {
        child(|| {
            while over.load(Acquire) == 0 {
                live(pages, nth as u64 + 1, lives);
            }
            0
        })
    });
    for round in 0..rounds {
        // While others live: who waits for the next of them has seen them in every state.
        let seen = lives.load(Acquire);
        while lives.load(Acquire) < seen + WORKERS as u64 {
            expect!(Ok(0), swap(false), "swapoff in round {round}");
            expect!(Ok(0), swap(true), "swapon in round {round}");
        }
    }
    over.store(1, Release);
    for (nth, worker) in workers.into_iter().enumerate() {
        worker.expect(End::Exit(0), format_args!("worker {nth}"));
    }
    println!("swapper: /dev/swap0 off and on in {rounds} rounds of {WORKERS} workers' lives");
    println!("ok");
}

/// swapon(2) or swapoff(2).
fn swap(on: bool) -> Result<usize, Errno> {
    let number = if on { 224 } else { 225 };
    calls::call(number, [c"/dev/swap0".as_ptr() as usize, 0, 0, 0, 0, 0])
}

/// A life of memory: written, swapped out, shared with a child that does the same, given back.
fn live(pages: usize, version: u64, lives: &AtomicU64) {
    let map = Map::private(pages);
    write_half(&map, 0, version);
    write_half(&map, 1, version);
    let young = child(|| {
        check(&map, [version; 2], "a child, its parent's pages");
        write_half(&map, 0, version + 10);
        check(&map, [version + 10, version], "a child, after it has written");
        0
    });
    write_half(&map, 1, version + 20);
    check(&map, [version, version + 20], "a parent, beside its child");
    young.expect(End::Exit(0), format_args!("a child of version {version}"));
    check(&map, [version, version + 20], "a parent, after its child");
    map.free();
    lives.fetch_add(1, AcqRel);
}

fn half(map: &Map, which: usize) -> impl Iterator<Item = usize> {
    (which..map.pages()).step_by(2)
}

/// Writes the even or the odd pages, and has all swapped out.
fn write_half(map: &Map, which: usize, version: u64) {
    pattern::write(map, half(map, which), version, (0, 1));
    let advised = syscall::madvise(map.address(0), map.pages() * page_size(), PAGEOUT);
    expect!(Ok(()), advised, "MADV_PAGEOUT");
}

fn check(map: &Map, versions: [u64; 2], who: &str) {
    for (which, version) in versions.into_iter().enumerate() {
        pattern::check(map, half(map, which), version, format_args!("{who}"));
    }
}
