//! `remap`: mremap, mincore, the mlock family, mseal, populate and advice, each against what Linux
//! answers.
#![no_std]
#![no_main]

use guests::process::{End, child};
use guests::syscall::{self, Errno, flag, nr, prot, remap};
use guests::{Args, Map, expect, fail, page_size, println};

guests::main!(main);

const POPULATE: usize = 0x8000;

fn main(_: Args) {
    moves();
    grows();
    keeps();
    shares();
    resident();
    locks();
    seals();
    advice();
    println!("ok");
}

fn moved(map: Map, new: usize, flags: usize, to: usize) -> Result<usize, Errno> {
    syscall::mremap(map.address(0), map.pages() * page_size(), new * page_size(), flags, to)
}

/// How many of the pages are in memory.
fn count(map: Map) -> usize {
    let mut there = [0; 128];
    let there = &mut there[..map.pages()];
    expect!(Ok(()), syscall::mincore(map.address(0), map.pages() * page_size(), there), "mincore");
    there.iter().filter(|byte| **byte & 1 == 1).count()
}

/// To a fixed place, of a few pages and of enough for whole tables.
fn moves() {
    for pages in [1, 100, (64 << 20) / page_size()] {
        let (map, place) = (Map::private(pages), Map::private(pages));
        let sample = [0, pages / 2, pages - 1];
        sample.iter().for_each(|page| map.fill(*page..*page + 1, 3));
        place.fill(0..1, 4);
        let got = moved(map, pages, remap::MAYMOVE | remap::FIXED, place.address(0));
        expect!(Ok(place.address(0)), got, "mremap of {pages} pages over others");
        sample.iter().for_each(|page| {
            place.check(*page..*page + 1, 3, format_args!("mremap of {pages} pages"));
        });
        let reader = child(|| map.word(0, 0).load(core::sync::atomic::Ordering::Relaxed) as i32);
        reader.expect(End::SEGV, format_args!("a child that reads what was moved away"));
        place.free();
    }
    println!("moved pages and tables");
}

fn grows() {
    let map = Map::private(8);
    map.fill(0..8, 1);
    map.unmap(4..8);
    let map = Map::at(map.address(0), 4);
    expect!(Ok(map.address(0)), moved(map, 8, 0, 0), "growth in place");
    let map = Map::at(map.address(0), 8);
    map.check(4..8, 0, format_args!("what has grown"));
    let got = moved(map, 1 << 18, 0, 0);
    expect!(Err(Errno::ENOMEM), got.map(|_| ()), "growth without room");
    expect!(Ok(map.address(0)), moved(map, 2, 0, 0), "shrinking");
    let map = Map::at(map.address(0), 2);
    map.check(0..2, 1, format_args!("what was left"));
    expect!(Err(Errno::EINVAL), moved(map, 0, remap::MAYMOVE, 0).map(|_| ()), "no length");
    map.free();
    println!("grew and shrank");
}

fn keeps() {
    let map = Map::private(5);
    map.fill(0..5, 6);
    let to = map.move_away();
    to.check(0..5, 6, format_args!("what was moved away"));
    map.check(0..5, 0, format_args!("what was left behind"));
    to.free();
    map.free();
    println!("left an empty mapping behind");
}

fn shares() {
    let map = Map::shared(3);
    match syscall::mremap(map.address(0), 0, 3 * page_size(), remap::MAYMOVE, 0) {
        Ok(again) => {
            let again = Map::at(again, 3);
            map.fill(0..3, 8);
            again.check(0..3, 8, format_args!("shared memory by its second name"));
            again.free();
        }
        Err(error) => fail!("mremap of no length of shared memory: {error}"),
    }
    map.free();
    println!("mapped shared memory twice");
}

fn resident() {
    let map = Map::private(9);
    expect!(0, count(map), "pages in memory before they are touched");
    map.fill(2..5, 1);
    expect!(3, count(map), "pages in memory after three were written");
    map.unmap(4..5);
    let got = syscall::mincore(map.address(0), 9 * page_size(), &mut [0; 9]);
    expect!(Err(Errno::ENOMEM), got, "mincore over a hole");
    map.free();
    let map = Map::new(9, prot::RW, flag::PRIVATE | POPULATE);
    expect!(9, count(map), "pages in memory after MAP_POPULATE");
    map.free();
    println!("counted what is in memory");
}

fn locks() {
    let (map, size) = (Map::private(6), page_size());
    expect!(Ok(()), syscall::about(nr::MLOCK, map.address(1) + 5, size, 0), "mlock");
    expect!(2, count(map), "pages in memory after two were locked");
    let dontneed = syscall::madvise(map.address(0), 6 * size, syscall::DONTNEED);
    expect!(Err(Errno::EINVAL), dontneed, "madvise(MADV_DONTNEED) of locked pages");
    expect!(Ok(()), syscall::about(nr::MUNLOCK, map.address(0), 6 * size, 0), "munlock");
    map.dontneed(0..6);
    expect!(0, count(map), "pages in memory after they were given back");
    expect!(Ok(()), syscall::about(nr::MLOCK2, map.address(0), 6 * size, 1), "mlock2");
    expect!(0, count(map), "pages in memory that are locked when they are touched");
    let too_much = Map::private((16 << 20) / size);
    let got = syscall::about(nr::MLOCK, too_much.address(0), 16 << 20, 0);
    expect!(Err(Errno::ENOMEM), got, "mlock of more than the limit");
    too_much.free();
    expect!(Ok(()), syscall::about_all(nr::MLOCKALL, 2), "mlockall(MCL_FUTURE)");
    let next = Map::private(2);
    expect!(2, count(next), "pages in memory of a mapping that was to be locked");
    expect!(Ok(()), syscall::about_all(nr::MUNLOCKALL, 0), "munlockall");
    next.free();
    map.unmap(3..4);
    let got = syscall::about(nr::MLOCK, map.address(0), 6 * size, 0);
    expect!(Err(Errno::ENOMEM), got, "mlock over a hole");
    map.free();
    println!("locked and unlocked");
}

fn seals() {
    let (map, size) = (Map::private(4), page_size());
    map.fill(0..4, 5);
    expect!(Ok(()), syscall::about(nr::MSEAL, map.address(1), 2 * size, 0), "mseal");
    let refused = Err(Errno::EPERM);
    expect!(refused, syscall::munmap(map.address(0), 4 * size), "munmap of sealed pages");
    let got = syscall::mprotect(map.address(2), size, prot::READ);
    expect!(refused, got, "mprotect of a sealed page");
    let sealed = Map::at(map.address(1), 2);
    let got = moved(sealed, 4, remap::MAYMOVE, 0).map(|_| ());
    expect!(refused, got, "mremap of sealed pages");
    let fixed = syscall::mmap(map.address(2), size, prot::RW, flag::PRIVATE | flag::FIXED);
    expect!(refused, fixed.map(|_| ()), "mmap over a sealed page");
    map.check(0..4, 5, format_args!("sealed memory"));
    println!("sealed");
}

fn advice() {
    const DONTFORK: usize = 10;
    const WIPEONFORK: usize = 18;
    let (map, size) = (Map::private(3), page_size());
    map.fill(0..3, 9);
    expect!(Ok(()), syscall::madvise(map.address(0), size, DONTFORK), "MADV_DONTFORK");
    expect!(Ok(()), syscall::madvise(map.address(1), size, WIPEONFORK), "MADV_WIPEONFORK");
    let copy = child(|| {
        map.check(1..2, 0, format_args!("what was to be wiped"));
        map.check(2..3, 9, format_args!("what was to be copied"));
        map.word(0, 0).load(core::sync::atomic::Ordering::Relaxed) as i32
    });
    copy.expect(End::SEGV, format_args!("a child that reads what it was not to have"));
    map.check(0..3, 9, format_args!("the parent's"));
    map.free();
    println!("gave advice for forks");
}
