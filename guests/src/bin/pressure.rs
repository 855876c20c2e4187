//! `pressure [KIB=4096 [ROUNDS=3 [PROCESSES=1]]]`: writes and verifies private memory over and over,
//! for a machine that has less than that.
//!
//! In each round two threads write the same pages, from both ends, each every other word; then each
//! verifies all of it, in order or as drawn. A quarter is given back between rounds.
#![no_std]
#![no_main]

use guests::process::{Child, End, child};
use guests::{Args, Map, page_size, pattern, println, thread};

guests::main!(main);

const THREADS: usize = 2;
const MOST: usize = 16;

fn main(args: Args) {
    let (kib, rounds) = (args.number(1, 4096), args.number(2, 3));
    let processes = args.number(3, 1).clamp(1, MOST);
    let pages = ((kib << 10) / page_size() / processes).max(4);
    let children: [Option<Child>; MOST] =
        core::array::from_fn(|nth| (nth < processes).then(|| child(|| press(nth, pages, rounds))));
    for (nth, child) in children.into_iter().flatten().enumerate() {
        child.expect(End::Exit(0), format_args!("process {nth}"));
    }
    println!("pressure: {kib} KiB in {processes} processes, {rounds} rounds");
    println!("ok");
}

/// The life of a process.
fn press(process: usize, pages: usize, rounds: usize) -> i32 {
    let map = Map::private(pages);
    for round in 0..rounds {
        let version = (round * MOST + process + 1) as u64;
        thread::run(THREADS, |nth| {
            let part = (nth, THREADS);
            match nth {
                0 => pattern::write(&map, 0..pages, version, part),
                _ => pattern::write(&map, (0..pages).rev(), version, part),
            }
        });
        thread::run(THREADS, |nth| {
            let what = format_args!("process {process}, round {round}, thread {nth}");
            match (round + nth) % THREADS {
                0 => pattern::check(&map, 0..pages, version, what),
                _ => pattern::check(&map, pattern::drawn(0..pages, version), version, what),
            }
        });
        let back = pages / 4 * (round % 4)..pages / 4 * (round % 4 + 1);
        map.dontneed(back.clone());
        map.check(back, 0, format_args!("process {process}, round {round}, given back"));
    }
    0
}
