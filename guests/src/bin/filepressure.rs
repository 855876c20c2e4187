//! `filepressure [KIB=4096 [ROUNDS=2]]`: a file, mapped shared and privately, on a machine that has less
//! memory than that. It wants a `/` that it may write to.
//!
//! What is written by one mapping is found by another, by read(2) and by another process; what is
//! written to a private mapping is found there alone, and what was not is the file's.
#![no_std]
#![no_main]

use guests::process::{End, child};
use guests::syscall::{self, flag, nr};
use guests::{Args, Map, calls, expect, page_size, pattern, println};

guests::main!(main);

const MS_SYNC: usize = 4;

/// The version that private copies have.
const COPIED: u64 = 1 << 20;

fn main(args: Args) {
    let (kib, rounds) = (args.number(1, 4096), args.number(2, 2));
    let pages = ((kib << 10) / page_size()).max(4);
    let file = calls::fresh(c"/pressure");
    expect!(Ok(0), calls::truncate(file, pages * page_size()), "ftruncate");
    let [shared, again] = [flag::SHARED; 2].map(|flags| pattern::mapped(file, pages, flags));
    for round in 0..rounds {
        let version = round as u64 + 1;
        pattern::write(&shared, (0..pages).rev(), version, (0, 1));
        sync(&shared, pages / 2);
        pattern::check(&again, 0..pages, version, format_args!("round {round}, mapped again"));
        pattern::check_file(file, pages, version, format_args!("round {round}"));
        copy(file, pages, version);
    }
    expect!(Ok(0), calls::close(file), "close");
    sync(&shared, pages);
    reopened(pages, rounds as u64).expect(End::Exit(0), format_args!("who opens it again"));
    expect!(Ok(0), calls::unlink(c"/pressure"), "unlink");
    let what = format_args!("without a name");
    pattern::check(&shared, pattern::drawn(0..pages, 1), rounds as u64, what);
    println!("filepressure: a file of {kib} KiB, {rounds} rounds");
    println!("ok");
}

fn sync(map: &Map, pages: usize) {
    let synced = syscall::about(nr::MSYNC, map.address(0), pages * page_size(), MS_SYNC);
    expect!(Ok(()), synced, "msync of {pages} pages");
}

/// Copies every other page privately: they stay so, and the others are the file's.
fn copy(file: usize, pages: usize, version: u64) {
    let map = pattern::mapped(file, pages, flag::PRIVATE);
    let (copied, others) = ((0..pages).step_by(2), (1..pages).step_by(2));
    pattern::write(&map, copied.clone(), COPIED + version, (0, 1));
    pattern::check(&map, others, version, format_args!("version {version}, not copied"));
    pattern::check(&map, copied, COPIED + version, format_args!("version {version}, copied"));
    pattern::check_file(file, pages, version, format_args!("version {version}, beside copies"));
    map.free();
}

/// A process that has only the file's name.
fn reopened(pages: usize, version: u64) -> guests::process::Child {
    child(|| {
        let file = calls::open(c"/pressure", calls::READ_WRITE).unwrap_or(usize::MAX);
        let map = pattern::mapped(file, pages, flag::SHARED);
        pattern::check(&map, 0..pages, version, format_args!("opened again"));
        0
    })
}
