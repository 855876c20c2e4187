//! `mapped [MIB=16]`: a loop that reads and writes every word of fresh memory, first anonymous and then
//! a file's: how much slower a mapped file is. It wants a `/` that it may write to.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::Ordering::Relaxed;
use guests::syscall::{self, Errno, flag, nr, prot};
use guests::time::now;
use guests::{Args, Map, fail, page_size, println};

guests::main!(main);

/// How often the loop goes over the memory: the first time faults.
const PASSES: usize = 4;
const ROUNDS: usize = 5;

fn main(args: Args) {
    let pages = (args.number(1, 16) << 20) / page_size();
    let file = file(pages).unwrap_or_else(|error| fail!("a file in /: {error}"));
    let nanoseconds =
        [(); ROUNDS].map(|()| [Map::private(pages), mapped(file, pages)].map(pass_over));
    for (which, what) in ["anonymous", "file"].into_iter().enumerate() {
        let mut times = nanoseconds.map(|round| round[which]);
        times.sort_unstable();
        println!("{what} {} ns a page", times[ROUNDS / 2] / (PASSES * pages) as u64);
    }
    println!("ok");
}

/// Nanoseconds for all passes, and the mapping goes.
fn pass_over(map: Map) -> u64 {
    let began = now();
    let mut sum = 0u64;
    for pass in 0..PASSES {
        for page in 0..map.pages() {
            for place in 0..Map::words() {
                let word = map.word(page, place);
                sum = sum.wrapping_add(word.load(Relaxed));
                word.store(sum ^ pass as u64, Relaxed);
            }
        }
    }
    black_box(sum);
    map.free();
    now() - began
}

/// A file of so many pages, all of them in memory.
fn file(pages: usize) -> Result<usize, Errno> {
    const OPENAT: usize = 56;
    const FTRUNCATE: usize = 46;
    const HERE: usize = -100isize as usize;
    const READ_WRITE_CREATE: usize = 0o102;
    let call = |number, arguments| {
        // SAFETY: the path is a literal, and nothing else is passed that the calls could write to.
        syscall::result(unsafe { syscall::raw(number, arguments) })
    };
    let path = c"/mapped".as_ptr() as usize;
    let file = call(OPENAT, [HERE, path, READ_WRITE_CREATE, 0o644, 0, 0])?;
    call(FTRUNCATE, [file, pages * page_size(), 0, 0, 0, 0])?;
    let map = mapped(file, pages);
    (0..pages).for_each(|page| map.word(page, 0).store(1, Relaxed));
    map.free();
    Ok(file)
}

fn mapped(file: usize, pages: usize) -> Map {
    let arguments = [0, pages * page_size(), prot::RW, flag::SHARED, file, 0];
    // SAFETY: the new mapping goes where nothing was.
    match syscall::result(unsafe { syscall::raw(nr::MMAP, arguments) }) {
        Ok(base) => Map::at(base, pages),
        Err(error) => fail!("mmap of the file: {error}"),
    }
}
