//! `shmpressure [KIB=4096 [ROUNDS=2]]`: two processes write and verify memory that they share, first
//! anonymous memory, then a memfd that each maps for itself, on a machine that has less than that.
//!
//! Each writes every other word of all pages, one from the start and one from the end; when both are
//! done, each verifies all words.
#![no_std]
#![no_main]

use guests::process::{End, child};
use guests::sync::Turn;
use guests::syscall::flag;
use guests::{Args, Map, calls, expect, fail, page_size, pattern, println};

guests::main!(main);

fn main(args: Args) {
    let (kib, rounds) = (args.number(1, 4096), args.number(2, 2));
    let pages = ((kib << 10) / page_size()).max(4);
    let map = Map::shared(pages);
    both(rounds, |nth, turns| share(&map, nth, rounds, turns));
    map.free();
    let file = calls::memory_file(c"pressure").unwrap_or_else(|error| fail!("memfd: {error}"));
    expect!(Ok(0), calls::truncate(file, pages * page_size()), "ftruncate");
    both(rounds, |nth, turns| {
        let map = pattern::mapped(file, pages, flag::SHARED);
        share(&map, nth, rounds, turns);
        pattern::check_file(file, pages, rounds as u64, format_args!("process {nth}"));
    });
    println!("shmpressure: two processes, {kib} KiB, {rounds} rounds");
    println!("ok");
}

/// Runs `body` in a child as number 1 and here as number 0, with a turn of each.
fn both(rounds: usize, body: impl Fn(usize, [&'static Turn; 2])) {
    let words = Map::shared(1);
    let turns = [0, 1].map(|nth| Turn::in_word(words.word(0, nth)));
    let other = child(|| {
        body(1, turns);
        0
    });
    body(0, turns);
    other.expect(End::Exit(0), format_args!("the other of two, {rounds} rounds"));
    words.free();
}

fn share(map: &Map, nth: usize, rounds: usize, turns: [&'static Turn; 2]) {
    let meet = |turn: usize| {
        turns[nth].pass(turn as u32);
        turns[1 - nth].wait(turn as u32);
    };
    for round in 0..rounds {
        let version = round as u64 + 1;
        match nth {
            0 => pattern::write(map, 0..map.pages(), version, (0, 2)),
            _ => pattern::write(map, (0..map.pages()).rev(), version, (1, 2)),
        }
        meet(2 * round + 1);
        let what = format_args!("process {nth}, round {round}");
        pattern::check(map, 0..map.pages(), version, what);
        pattern::check(map, pattern::drawn(0..map.pages(), version), version, what);
        meet(2 * round + 2);
    }
}
