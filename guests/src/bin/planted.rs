//! `planted [order|counter|lock|wakeup|reuse] [THREADS [ROUNDS]]`: races that were planted, for the seeds of
//! `vmspace run --seed` to find. `order` has none: it prints the order in which threads got a lock.
//!
//! `counter` adds by a load and a store; `lock` looks whether it is free, then takes it: both lose
//! additions, and fail. `wakeup` looks whether it may go on, then sleeps, whatever has come in
//! between: who is woken before he sleeps, sleeps for ever. `reuse` has no race either: one thread
//! stores to a page without a pause and in no order with the other, who gives the page up and
//! touches new memory; where the machine left a translation standing, both reach one frame.
#![no_std]
#![no_main]

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use guests::sync::Mutex;
use guests::syscall::{futex_wait, futex_wake};
use guests::{Args, Map, expect, print, println, start, thread};

guests::main!(main);

/// Turns that `order` prints.
const MOST: usize = 200;

fn main(args: Args) {
    let (threads, rounds) = (args.number(2, 2), args.number(3, 100));
    match args.get(1).unwrap_or("order") {
        "order" => order(threads, rounds),
        "counter" => counter(threads, rounds),
        "lock" => lock(threads, rounds),
        "wakeup" => wakeup(rounds),
        "reuse" => reuse(rounds),
        other => start::usage(1, other, "order, counter, lock, wakeup or reuse"),
    }
    println!("ok");
}

fn order(threads: usize, rounds: usize) {
    let turns = Mutex::new(([0; MOST], 0));
    thread::run(threads, |me| {
        for _ in 0..rounds {
            turns.with(|(turns, count)| {
                if let Some(turn) = turns.get_mut(*count) {
                    (*turn, *count) = (b'a' + (me % 26) as u8, *count + 1);
                }
            });
        }
    });
    turns.with(|(turns, count)| {
        print::line(1, format_args!("{}", core::str::from_utf8(&turns[..*count]).unwrap_or("")));
    });
}

/// Adds one by a load and a store.
fn add_carelessly(counter: &AtomicUsize) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

fn counter(threads: usize, rounds: usize) {
    let counter = AtomicUsize::new(0);
    thread::run(threads, |_| (0..rounds).for_each(|_| add_carelessly(&counter)));
    expect!(threads * rounds, counter.into_inner(), "counter");
}

fn lock(threads: usize, rounds: usize) {
    let (taken, counter) = (AtomicU32::new(0), AtomicUsize::new(0));
    thread::run(threads, |_| {
        for _ in 0..rounds {
            while taken.load(Acquire) != 0 {
                spin_loop();
            }
            taken.store(1, Relaxed);
            add_carelessly(&counter);
            taken.store(0, Release);
        }
    });
    expect!(threads * rounds, counter.into_inner(), "counter under the lock");
}

fn wakeup(rounds: usize) {
    for _ in 0..rounds {
        let (ready, bed) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::run(2, |me| {
            if me == 0 {
                ready.store(1, Release);
                futex_wake(&bed, 1);
            } else if ready.load(Acquire) == 0 {
                futex_wait(&bed, 0);
            }
        });
    }
}

fn reuse(rounds: usize) {
    let (map, begun, done) = (Map::private(1), AtomicBool::new(false), AtomicBool::new(false));
    thread::run(2, |me| {
        if me == 0 {
            while !done.load(Relaxed) {
                map.word(0, 0).store(1, Relaxed);
                begun.store(true, Relaxed);
            }
            return;
        }
        while !begun.load(Relaxed) {
            spin_loop();
        }
        for _ in 0..rounds {
            map.dontneed(0..1);
            let new = Map::private(1);
            new.word(0, 1).store(1, Relaxed);
            new.free();
        }
        done.store(true, Relaxed);
    });
}
