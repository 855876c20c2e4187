//! `stale unmap|protect|fork|cow|dontneed|tables|remap|all [ROUNDS]`: each test goes wrong at once where the
//! invalidation that it is named after is missing.
//!
//! Thread A, warm, has a translation of every page in its TLB and stays out of the kernel; thread B
//! changes the mapping; then A looks. What must kill is tried in a forked child of two threads.
#![no_std]
#![no_main]

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use guests::process::{End, child};
use guests::sync::Turn;
use guests::syscall::{flag, prot};
use guests::{Args, Map, expect, fail, page_size, println, start, thread};

guests::main!(main);

/// A test, given the number of rounds.
type Test = fn(u32);

fn main(args: Args) {
    let tests: [(&str, Test); 7] = [
        ("unmap", unmap),
        ("protect", protect),
        ("fork", fork),
        ("cow", cow),
        ("dontneed", dontneed),
        ("tables", tables),
        ("remap", remap),
    ];
    let (name, rounds) = (args.get(1).unwrap_or("all"), args.number(2, 30) as u32);
    if name != "all" && tests.iter().all(|(test, _)| *test != name) {
        start::usage(1, name, "unmap, protect, fork, cow, dontneed, tables, remap or all");
    }
    for (test, run) in tests {
        if name == "all" || name == test {
            run(rounds);
            println!("stale: {test}, {rounds} rounds");
        }
    }
    println!("ok");
}

/// Pages in a round: one; a few; more than a batch of a shootdown holds.
fn pages(round: u32) -> usize {
    [1, 7, 100][round as usize % 3]
}

/// A writes tag 1 and reads; B makes its change; A looks.
fn change(map: Map, by_b: impl Fn() + Sync, then_a: impl Fn() + Sync) {
    let turn = Turn::new();
    thread::run(2, |thread| {
        if thread == 0 {
            map.fill(0..map.pages(), 1);
            map.check(0..map.pages(), 1, format_args!("before the change"));
            turn.pass(1);
            turn.wait(2);
            then_a();
        } else {
            turn.wait(1);
            by_b();
            turn.pass(2);
        }
    });
}

/// The same in a child process, where A's last deed on the last page must be its death.
fn deadly(name: &str, count: usize, by_b: fn(Map), deed: fn(Map)) {
    let doomed = child(|| {
        let map = Map::private(count);
        change(map, || by_b(map), || deed(map));
        fail!("{name}, {count} pages: expected death by SIGSEGV, seen none")
    });
    doomed.expect(End::SEGV, format_args!("{name}, {count} pages"));
}

fn read_last(map: Map) {
    map.word(map.pages() - 1, 0).load(Relaxed);
}

fn write_last(map: Map) {
    map.word(map.pages() - 1, 0).store(2, Relaxed);
}

/// Replaced: A sees zeros, and its writes land in the new memory. Unmapped: A dies.
fn unmap(rounds: u32) {
    for round in 0..rounds {
        let map = Map::private(pages(round));
        let all = 0..map.pages();
        let by_b = || map.replace(all.clone());
        change(map, by_b, || {
            map.check(all.clone(), 0, format_args!("unmap round {round}: A after MAP_FIXED"));
            map.fill(all.clone(), 2);
            // Where A's writes went to the old frames, these have got them.
            let other = Map::private(map.pages());
            other.check(all.clone(), 0, format_args!("unmap round {round}: new memory elsewhere"));
            other.free();
        });
        map.check(all, 2, format_args!("unmap round {round}: the main thread after A's writes"));
        map.free();
        if round % 10 < 3 {
            deadly("read after munmap", pages(round), Map::free, read_last);
            deadly("write after munmap", pages(round), Map::free, write_last);
        }
    }
}

/// To read-only: A's write kills. To nothing: A's read kills. And back again: A goes on.
fn protect(rounds: u32) {
    for round in 0..rounds {
        let map = Map::private(pages(round));
        let all = 0..map.pages();
        let by_b = || {
            map.protect(all.clone(), prot::READ);
            map.check(all.clone(), 1, format_args!("protect round {round}: B, read-only"));
            map.protect(all.clone(), prot::NONE);
            map.protect(all.clone(), prot::RW);
        };
        change(map, by_b, || {
            map.check(all.clone(), 1, format_args!("protect round {round}: A, there and back"));
            map.fill(all.clone(), 2);
        });
        map.check(all, 2, format_args!("protect round {round}: the main thread"));
        map.free();
        if round % 10 < 3 {
            let count = pages(round);
            let read_only = |map: Map| map.protect(0..map.pages(), prot::READ);
            deadly("write after mprotect(PROT_READ)", count, read_only, write_last);
            let nothing = |map: Map| map.protect(0..map.pages(), prot::NONE);
            deadly("read after mprotect(PROT_NONE)", count, nothing, read_last);
        }
    }
}

/// A writes without a pause while B forks: no write made after the fork may appear in the child.
fn fork(rounds: u32) {
    for round in 0..rounds {
        let (map, shared) = (Map::private(pages(round)), Map::shared(1));
        let (passes, done) = (shared.word(0, 0), AtomicBool::new(false));
        thread::run(2, |thread| {
            if thread == 0 {
                let mut value = 0;
                while !done.load(Acquire) {
                    value += 1;
                    (0..map.pages()).for_each(|page| map.word(page, 1).store(value, Relaxed));
                    passes.store(value, Release);
                }
                return;
            }
            while passes.load(Acquire) < 3 {
                spin_loop();
            }
            let copy = child(|| {
                let frozen: [u64; 100] = core::array::from_fn(|page| {
                    if page < map.pages() { map.word(page, 1).load(Relaxed) } else { 0 }
                });
                let seen = passes.load(Acquire);
                while passes.load(Acquire) < seen + 5 {
                    spin_loop();
                }
                for (page, frozen) in frozen.into_iter().enumerate().take(map.pages()) {
                    let now = map.word(page, 1).load(Relaxed);
                    expect!(frozen, now, "fork round {round}: page {page} of the child");
                }
                0
            });
            copy.expect(End::Exit(0), format_args!("fork round {round}: the child"));
            done.store(true, Release);
        });
        map.free();
        shared.free();
    }
}

/// After a fork A reads the frames that the child has too; B writes, which copies: A must see the copy.
fn cow(rounds: u32) {
    for round in 0..rounds {
        let (map, shared) = (Map::private(pages(round)), Map::shared(1));
        let (all, turn) = (0..map.pages(), Turn::in_word(shared.word(0, 0)));
        map.fill(all.clone(), 1);
        let copy = child(|| {
            turn.wait(3);
            map.check(all.clone(), 1, format_args!("cow round {round}: the child"));
            0
        });
        thread::run(2, |thread| {
            if thread == 0 {
                map.check(all.clone(), 1, format_args!("cow round {round}: A after the fork"));
                turn.pass(1);
                turn.wait(2);
                map.check(all.clone(), 2, format_args!("cow round {round}: A after B's write"));
                map.fill(all.clone(), 3);
                turn.pass(3);
            } else {
                turn.wait(1);
                map.fill(all.clone(), 2);
                turn.pass(2);
                turn.wait(3);
                map.check(all.clone(), 3, format_args!("cow round {round}: B after A's write"));
            }
        });
        copy.expect(End::Exit(0), format_args!("cow round {round}: the child"));
        map.free();
        shared.free();
    }
}

/// Given back: A sees zeros, and what A then writes B sees.
fn dontneed(rounds: u32) {
    for round in 0..rounds {
        let map = Map::private(pages(round));
        let all = 0..map.pages();
        let by_b = || map.dontneed(all.clone());
        change(map, by_b, || {
            map.check(all.clone(), 0, format_args!("dontneed round {round}: A"));
            map.fill(all.clone(), 2);
        });
        map.check(all, 2, format_args!("dontneed round {round}: the main thread after A's writes"));
        map.free();
    }
}

/// Whole tables' worth is replaced, and B writes what A wrote before: A, who knew where the tables
/// were, must see it.
fn tables(rounds: u32) {
    for round in 0..rounds {
        // A leaf table has at most a page of entries of four bytes.
        let span = page_size() / 4;
        let map = Map::new(2 * span, prot::RW, flag::PRIVATE | flag::NORESERVE);
        let touched = || (0..map.pages()).step_by(span / 4);
        let turn = Turn::new();
        let fill = |tag| touched().for_each(|page| map.fill(page..page + 1, tag));
        thread::run(2, |thread| {
            if thread == 0 {
                fill(1);
                turn.pass(1);
                turn.wait(2);
                for page in touched() {
                    map.check(page..page + 1, 2, format_args!("tables round {round}: A"));
                }
            } else {
                turn.wait(1);
                map.replace(0..map.pages());
                fill(2);
                turn.pass(2);
            }
        });
    }
}

/// Moved away: A sees zeros, and its writes do not reach what was moved.
fn remap(rounds: u32) {
    for round in 0..rounds {
        let (map, moved) = (Map::private(pages(round)), AtomicUsize::new(0));
        let all = 0..map.pages();
        let by_b = || moved.store(map.move_away().address(0), Release);
        change(map, by_b, || {
            map.check(all.clone(), 0, format_args!("remap round {round}: A"));
            map.fill(all.clone(), 2);
        });
        let moved = Map::at(moved.load(Acquire), map.pages());
        moved.check(all, 1, format_args!("remap round {round}: what was moved, after A's writes"));
        moved.free();
        map.free();
    }
}
