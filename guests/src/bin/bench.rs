//! `bench [SCALE]`: how long memory calls, faults and forks take; counts and times, nothing verified
//! but that everything succeeds.
#![no_std]
#![no_main]

use core::sync::atomic::Ordering::Relaxed;
use guests::process::{End, child};
use guests::syscall::{getpid, prot};
use guests::time::now;
use guests::{Args, Map, println, thread};

guests::main!(main);

/// Pages of the larger rows: 1 MiB of 4 KiB pages.
const MANY: usize = 256;

fn main(args: Args) {
    let scale = args.number(1, 1).max(1);
    println!("{:<38} {:>9} {:>12}", "what", "count", "ns each");
    row("system call (getpid)", 20_000 * scale, 1, || {
        getpid();
    });
    row("map 4 pages, unmap", 5_000 * scale, 1, || Map::private(4).free());
    row("map 4 pages, touch, unmap", 2_000 * scale, 1, || {
        let map = Map::private(4);
        touch(map);
        map.free();
    });
    let map = Map::private(MANY);
    row("fault (don't-need, touch), per page", 20 * scale, MANY, || {
        map.dontneed(0..MANY);
        touch(map);
    });
    row("protect and back, 1 page", 5_000 * scale, 1, || {
        map.protect(7..8, prot::READ);
        map.protect(7..8, prot::RW);
    });
    row("protect and back, per page", 20 * scale, MANY, || {
        map.protect(0..MANY, prot::READ);
        map.protect(0..MANY, prot::RW);
    });
    row("fork, exit, wait", 50 * scale, 1, || {
        child(|| 0).expect(End::Exit(0), format_args!("fork"));
    });
    row("fork, child writes, wait, per page", 10 * scale, MANY, || {
        let writer = child(|| {
            touch(map);
            0
        });
        writer.expect(End::Exit(0), format_args!("fork and write"));
    });
    row("start and join a thread", 500 * scale, 1, || thread::run(1, |_| {}));
    row("4 threads: map, touch, unmap 4 pages", scale, 4 * 500, || {
        thread::run(4, |_| {
            for _ in 0..500 {
                let map = Map::private(4);
                touch(map);
                map.free();
            }
        });
    });
    println!("ok");
}

fn touch(map: Map) {
    for page in 0..map.pages() {
        map.word(page, 0).store(1, Relaxed);
    }
}

/// Runs `body` `times` times; each run does `each` of what is counted.
fn row(what: &str, times: usize, each: usize, body: impl Fn()) {
    let began = now();
    (0..times).for_each(|_| body());
    let count = times * each;
    println!("{what:<38} {count:>9} {:>12}", (now() - began) / count as u64);
}
