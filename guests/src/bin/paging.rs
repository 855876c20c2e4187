//! `paging [MIB=16 [ROUNDS=2]]`: memory that is touched in order and then at random, verified: what
//! that takes where there is less of it, for the benchmarks.
#![no_std]
#![no_main]

use core::sync::atomic::AtomicU64;
use guests::paging::{self, Progress};
use guests::syscall::{self, flag, prot};
use guests::time::now;
use guests::{Args, Map, fail, page_size, println};

guests::main!(main);

fn main(args: Args) {
    let pages = (args.number(1, 16) << 20) / page_size();
    if !pages.is_power_of_two() {
        fail!("MIB: expected a power of two");
    }
    let rounds = args.number(2, 2);
    let map = Map::new(pages, prot::RW, flag::PRIVATE | flag::NORESERVE);
    let page = |number: usize| -> &'static [AtomicU64] {
        // SAFETY: the words of one page of the map, which stays; all are reached as atomics.
        unsafe { core::slice::from_raw_parts(map.word(number, 0), Map::words()) }
    };
    let progress = || {
        let (out, back) = swapped();
        Progress { nanoseconds: now(), out, back }
    };
    match paging::run(pages, rounds, page, progress) {
        Ok([in_order, at_random]) => println!("in order {in_order}\nat random {at_random}\nok"),
        Err(page) => fail!("page {page} does not hold what was written to it"),
    }
}

/// Pages that have gone out to swap, and come back: zeros where nobody tells.
fn swapped() -> (u64, u64) {
    const OPENAT: usize = 56;
    const CLOSE: usize = 57;
    let mut text = [0u8; 8192];
    let call = |number, arguments| {
        // SAFETY: the path is a literal, and read writes to `text` alone, whose length it is given.
        syscall::result(unsafe { syscall::raw(number, arguments) })
    };
    let path = c"/proc/vmstat".as_ptr() as usize;
    let Ok(file) = call(OPENAT, [0, path, 0, 0, 0, 0]) else { return (0, 0) };
    let mut length = 0;
    while let Ok(read @ 1..) = call(
        syscall::nr::READ,
        [file, text[length..].as_mut_ptr() as usize, text.len() - length, 0, 0, 0],
    ) {
        length += read;
    }
    let _ = call(CLOSE, [file, 0, 0, 0, 0, 0]);
    core::str::from_utf8(&text[..length]).ok().and_then(paging::swapped).unwrap_or((0, 0))
}
