//! `mlocked [KIB=4096]`: locked memory stays in memory while other memory is wanted, on a machine that
//! has less than that; mincore says so at every step.
//!
//! By mlock, by mlock2 when it is touched, by mlockall for what there is and what will be. What is not
//! locked may be given up by advice, and comes back.
#![no_std]
#![no_main]

use guests::syscall::{self, Errno, nr};
use guests::{Args, Map, expect, page_size, pattern, println};

guests::main!(main);

/// Bytes that are locked: an eighth of what everybody may lock.
const LOCKED: usize = 1 << 20;

const ON_FAULT: usize = 1;
const CURRENT: usize = 1;
const FUTURE: usize = 2;
const COLD: usize = 20;
const PAGEOUT: usize = 21;

/// How many pages mincore is asked about at once.
const ASKED: usize = 64;

fn main(args: Args) {
    let kib = args.number(1, 4096);
    let others = ((kib << 10) / page_size()).max(4);
    let locked = (LOCKED / page_size()).max(4);
    for (version, lock) in (1..).zip([by_mlock, by_mlock2, by_mlockall]) {
        let map = lock(locked, version);
        press(others, &map, version);
        expect!(Ok(()), syscall::about_all(nr::MUNLOCKALL, 0), "munlockall");
        press(others, &Map::at(map.address(0), 0), version);
        pattern::check(&map, 0..locked, version, format_args!("unlocked {version}"));
        map.free();
    }
    println!("mlocked: by mlock, mlock2 and mlockall, beside {kib} KiB");
    advised(locked);
    println!("mlocked: cold and paged out by advice");
    println!("ok");
}

/// Uses so many other pages, and looks after each of them whether the locked ones are there.
fn press(others: usize, locked: &Map, version: u64) {
    let others = Map::private(others);
    for page in 0..others.pages() {
        pattern::write(&others, page..page + 1, version, (0, 1));
        let first = page * ASKED % locked.pages().max(1);
        let asked = first..locked.pages().min(first + ASKED);
        let there = resident(locked, asked.clone());
        expect!(asked.len(), there, "locked pages in memory of {asked:?}, at page {page}");
    }
    pattern::check(&others, 0..others.pages(), version, format_args!("beside what is locked"));
    others.free();
}

/// How many of the pages, 64 at the most, are in memory.
fn resident(map: &Map, pages: core::ops::Range<usize>) -> usize {
    let mut there = [0; ASKED];
    let there = &mut there[..pages.len()];
    let bytes = pages.len() * page_size();
    expect!(Ok(()), syscall::mincore(map.address(pages.start), bytes, there), "mincore");
    there.iter().filter(|byte| **byte & 1 == 1).count()
}

fn all(map: &Map) -> usize {
    map.pages() * page_size()
}

/// Filled, then locked.
fn by_mlock(pages: usize, version: u64) -> Map {
    let map = Map::private(pages);
    pattern::write(&map, 0..pages, version, (0, 1));
    expect!(Ok(()), syscall::about(nr::MLOCK, map.address(0), all(&map), 0), "mlock");
    map
}

/// Locked, then filled.
fn by_mlock2(pages: usize, version: u64) -> Map {
    let map = Map::private(pages);
    let locked = syscall::about(nr::MLOCK2, map.address(0), all(&map), ON_FAULT);
    expect!(Ok(()), locked, "mlock2");
    expect!(0, resident(&map, 0..pages.min(ASKED)), "pages in memory that nobody has touched");
    pattern::write(&map, 0..pages, version, (0, 1));
    map
}

/// Locked before it was there, with all of the program; what comes later is not.
fn by_mlockall(pages: usize, version: u64) -> Map {
    expect!(Ok(()), syscall::about_all(nr::MLOCKALL, CURRENT | FUTURE), "mlockall");
    let map = Map::private(pages);
    pattern::write(&map, 0..pages, version, (0, 1));
    expect!(Ok(()), syscall::about_all(nr::MLOCKALL, CURRENT), "mlockall of what there is");
    map
}

/// What is locked takes no such advice.
fn advised(pages: usize) {
    let map = Map::private(pages);
    pattern::write(&map, 0..pages, 9, (0, 1));
    for advice in [COLD, PAGEOUT] {
        expect!(Ok(()), syscall::madvise(map.address(0), all(&map), advice), "advice {advice}");
        pattern::check(&map, 0..pages, 9, format_args!("after advice {advice}"));
    }
    expect!(Ok(()), syscall::madvise(map.address(0), all(&map), PAGEOUT), "MADV_PAGEOUT");
    expect!(0, resident(&map, 0..pages.min(ASKED)), "pages in memory that were paged out");
    pattern::check(&map, 0..pages, 9, format_args!("paged out"));
    expect!(Ok(()), syscall::about(nr::MLOCK, map.address(0), all(&map), 0), "mlock");
    for advice in [COLD, PAGEOUT] {
        let advised = syscall::madvise(map.address(0), all(&map), advice);
        expect!(Err(Errno::EINVAL), advised, "advice {advice} of locked pages");
    }
    expect!(pages.min(ASKED), resident(&map, 0..pages.min(ASKED)), "locked pages in memory");
    map.free();
}
