//! Mappings of files: pages that read, write and other processes share; what lies beyond the end.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::*};
use guests::calls::*;
use guests::process::{End, child};
use guests::signal::{self, Action, Context, Info};
use guests::syscall::{self, flag, mprotect, munmap, prot};
use guests::{expect, page_size, println};

const SYNC: usize = 4;
const SIGBUS: usize = 7;

pub fn run() {
    one(c"/mapped", fresh(c"/mapped"));
    expect!(Ok(0), unlink(c"/mapped"), "unlink");
    one(c"/dev/shm/mapped", fresh(c"/dev/shm/mapped"));
    expect!(Ok(0), unlink(c"/dev/shm/mapped"), "unlink");
    one(c"/memfd:name (deleted)", memory_file(c"name").unwrap_or(usize::MAX));
    refused();
    advised();
    println!("files: mappings, read and write share pages; what is cut off gives SIGBUS");
}

fn byte(address: usize) -> &'static AtomicU8 {
    // SAFETY: within a mapping of the program's, or the fault is what is looked for.
    unsafe { &*(address as *const AtomicU8) }
}

fn one(name: &CStr, file: usize) {
    let page = page_size();
    expect!(Ok(0), truncate(file, 2 * page), "ftruncate of {name:?}");
    let shared = map(file, 2 * page, prot::RW, flag::SHARED, 0).unwrap_or(0);
    let private = map(file, 2 * page, prot::RW, flag::PRIVATE, 0).unwrap_or(0);
    expect!(true, shared != 0 && private != 0, "mappings of {name:?}");
    // Each way in is seen by each way out.
    expect!(Ok(1), pwrite(file, b"w", page), "pwrite");
    expect!(b'w', byte(shared + page).load(Relaxed), "a write, seen by a shared mapping");
    expect!(b'w', byte(private + page).load(Relaxed), "a write, seen by a private mapping");
    byte(shared).store(b's', Relaxed);
    let mut seen = [0];
    expect!((Ok(1), b's'), (pread(file, &mut seen, 0), seen[0]), "a store, seen by read");
    byte(private).store(b'p', Relaxed);
    expect!((Ok(1), b's'), (pread(file, &mut seen, 0), seen[0]), "a private store stays private");
    let second = map(file, page, prot::READ, flag::SHARED, page).unwrap_or(0);
    child(|| {
        byte(shared + page).store(b'c', Relaxed);
        byte(private + page).store(b'd', Relaxed);
        0
    })
    .expect(End::Exit(0), format_args!("a child that stores"));
    expect!(b'c', byte(second).load(Relaxed), "a child's store, by another mapping");
    expect!(b'c', byte(private + page).load(Relaxed), "a child's store, by a private mapping");
    expect!(Ok(0), sync(shared, 2 * page, SYNC), "msync");
    named(name, shared);
    beyond(file, shared, private);
    for (at, length) in [(shared, 2 * page), (private, 2 * page), (second, page)] {
        expect!(Ok(()), munmap(at, length), "munmap");
    }
    expect!(Ok(0), close(file), "close");
}

static CODE: AtomicUsize = AtomicUsize::new(0);

/// Notes what it was told, and leaves.
extern "C" fn on_bus(_: usize, info: &Info, _: &mut Context) {
    let wanted = CODE.load(Relaxed);
    let right = info.code == 2 && info.address == wanted;
    guests::syscall::exit_group(if right { 42 } else { 43 });
}

/// Whether touching the address gives SIGBUS, with BUS_ADRERR and the address.
fn bus(address: usize, what: &str) {
    child(|| byte(address).load(Relaxed).into()).expect(End::BUS, format_args!("{what}"));
    child(|| {
        CODE.store(address, Relaxed);
        signal::set(SIGBUS, Action::handler(on_bus, 0));
        byte(address).load(Relaxed).into()
    })
    .expect(End::Exit(42), format_args!("{what}, to a handler"));
}

/// What is cut off under a mapping.
fn beyond(file: usize, shared: usize, private: usize) {
    let page = page_size();
    expect!(Ok(0), truncate(file, page + 1), "ftruncate within the second page");
    expect!(0, byte(shared + page + 1).load(Relaxed), "the rest of the last page");
    expect!(Ok(0), truncate(file, 1), "ftruncate within the first page");
    bus(shared + page, "a page that was cut off");
    bus(private + page + 8, "a page that was cut off, privately");
    expect!(b'p', byte(private).load(Relaxed), "a private copy stays");
    expect!(Err(EFAULT), call(64, [1, shared + page, 1, 0, 0, 0]), "write from what was cut off");
    expect!(Ok(0), truncate(file, 2 * page), "ftruncate to more");
    expect!(0, byte(shared + page).load(Relaxed), "the page is back, and empty");
}

/// The mapping's line in /proc/self/maps ends with its file's name.
fn named(name: &CStr, address: usize) {
    let maps = open(c"/proc/self/maps", 0).unwrap_or(usize::MAX);
    let mut text = [0; 4096];
    let length = read(maps, &mut text).unwrap_or(0);
    expect!(Ok(0), close(maps), "close");
    let mut digits = [0; 16];
    for (n, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[address >> (60 - 4 * n) & 15];
    }
    let zeros = digits.iter().position(|digit| *digit != b'0').unwrap_or(0).min(8);
    let mut lines = text[..length].split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.starts_with(&digits[zeros..]));
    let found = line.is_some_and(|line| line.ends_with(name.to_bytes()));
    expect!(true, found, "the name of {name:?} in /proc/self/maps");
}

fn refused() {
    let page = page_size();
    let file = fresh(c"/refused");
    expect!(Ok(1), write(file, b"x"), "write");
    let only = open(c"/refused", 0).unwrap_or(usize::MAX);
    let writes = open(c"/refused", WRITE_ONLY).unwrap_or(usize::MAX);
    let (read, rw) = (prot::READ, prot::RW);
    expect!(Err(EACCES), map(only, page, rw, flag::SHARED, 0), "a shared mapping to be written");
    let reads = map(only, page, read, flag::SHARED, 0).unwrap_or(0);
    expect!(Err(EACCES), mprotect(reads, page, rw), "a right that never was");
    expect!(Ok(()), munmap(reads, page), "munmap");
    expect!(Err(EACCES), map(writes, page, read, flag::PRIVATE, 0), "a file open for writing");
    expect!(Err(EINVAL), map(file, page, read, flag::SHARED, 1), "an odd offset");
    expect!(Err(EINVAL), map(file, 0, read, flag::SHARED, 0), "no length");
    let far = isize::MAX as usize & !(page - 1);
    expect!(Err(EOVERFLOW), map(file, 2 * page, read, flag::SHARED, far), "too far");
    expect!(Err(EBADF), map(99, page, read, flag::SHARED, 0), "no file");
    let directory = open(c"/", DIRECTORY).unwrap_or(usize::MAX);
    expect!(Err(ENODEV), map(directory, page, read, flag::SHARED, 0), "a directory");
    let writable = map(only, page, rw, flag::PRIVATE, 0).unwrap_or(0);
    byte(writable).store(b'y', Relaxed);
    expect!(Ok(()), munmap(writable, page), "munmap");
    let at = map(file, 4 * page, rw, flag::SHARED, 0).unwrap_or(0);
    bus(at + page, "a page beyond the end");
    expect!(Ok(()), munmap(at + page, page), "munmap");
    expect!(Err(guests::syscall::Errno(12)), sync(at, 4 * page, SYNC), "msync across a hole");
    expect!(Err(EINVAL), sync(at + 1, page, SYNC), "msync, odd");
    // A mapping outlives its descriptor and its name.
    for file in [only, writes, directory, file] {
        expect!(Ok(0), close(file), "close");
    }
    expect!(Ok(0), unlink(c"/refused"), "unlink");
    expect!(b'x', byte(at).load(Relaxed), "a mapping without a file");
    expect!(Ok(()), munmap(at, page), "munmap");
    large();
}

/// Advice brings pages, or is none.
fn advised() {
    let page = page_size();
    let file = fresh(c"/advised");
    for n in 0..4 {
        expect!(Ok(1), pwrite(file, b"a", n * page), "pwrite");
    }
    let at = map(file, 4 * page, prot::READ, flag::SHARED, 0).unwrap_or(0);
    let mut there = [0; 4];
    expect!(Ok(()), syscall::madvise(at + page, page, 3), "MADV_WILLNEED of a page");
    expect!(Ok(()), syscall::mincore(at, 4 * page, &mut there), "mincore");
    expect!(1, there[1] & 1, "a page that will be needed");
    expect!(Ok(0), call(223, [file, 0, 0, 3, 0, 0]), "POSIX_FADV_WILLNEED");
    expect!(Ok(()), syscall::mincore(at, 4 * page, &mut there), "mincore");
    expect!([1; 4], there.map(|byte| byte & 1), "pages of a file that will be needed");
    for number in 12..=17 {
        expect!(Ok(()), syscall::madvise(at, page, number), "advice {number}");
    }
    for number in [5, 25, 99] {
        expect!(Err(EINVAL), syscall::madvise(at, page, number), "advice {number}");
    }
    expect!(Err(EINVAL), call(223, [file, 0, 0, 6, 0, 0]), "fadvise64 of no kind");
    expect!(Ok(0), call(213, [file, 0, page, 0, 0, 0]), "readahead");
    let ends = syscall::pipe2(0).unwrap_or([-1; 2]).map(|end| end as usize);
    expect!(Err(EINVAL), call(213, [ends[0], 0, page, 0, 0, 0]), "readahead of a pipe");
    expect!(Err(ESPIPE), call(223, [ends[0], 0, 0, 3, 0, 0]), "fadvise64 of a pipe");
    for file in [ends[0], ends[1], file] {
        expect!(Ok(0), close(file), "close");
    }
    expect!(Ok(()), munmap(at, 4 * page), "munmap");
    expect!(Ok(0), unlink(c"/advised"), "unlink");
}

/// What was stored by a mapping that was the last of its file is the host's when it is gone.
pub fn stored() {
    let page = page_size();
    let file = open(c"/victim", READ_WRITE).unwrap_or(usize::MAX);
    let at = map(file, page, prot::RW, flag::SHARED, 0).unwrap_or(0);
    expect!(Ok(0), close(file), "close");
    byte(at).store(b's', Relaxed);
    expect!(Ok(()), munmap(at, page), "munmap");
    println!("files: stored");
    expect!(Ok(1), read(0, &mut [0]), "a byte of standard input");
}

/// Somebody outside makes a file shorter that is mapped, and takes its name away.
pub fn shrunk() {
    let page = page_size();
    let file = open(c"/victim", READ_WRITE).unwrap_or(usize::MAX);
    let at = map(file, 4 * page, prot::RW, flag::SHARED, 0).unwrap_or(0);
    let before = byte(at).load(Relaxed);
    println!("files: mapped");
    expect!(Ok(1), read(0, &mut [0]), "a byte of standard input");
    bus(at + 3 * page, "a page that somebody outside cut off");
    expect!(before, byte(at).load(Relaxed), "a page that was there");
    let mut bytes = [0; 8];
    expect!(Ok(0), pread(file, &mut bytes, 3 * page), "pread of what was cut off");
    expect!(Ok(1), stat(file).map(|stat| stat.2), "the length that is left");
    expect!(Err(ENOENT), open(c"/victim", 0), "the name that is gone");
    println!("ok");
}

/// A mapping of 1 GiB, touched here and there, needs only the pages that are touched.
fn large() {
    const LENGTH: usize = 1 << 30;
    let file = fresh(c"/large");
    expect!(Ok(0), truncate(file, LENGTH), "ftruncate to 1 GiB");
    let at = map(file, LENGTH, prot::RW, flag::SHARED, 0).unwrap_or(0);
    for offset in (0..LENGTH).step_by(LENGTH / 8) {
        byte(at + offset).store(1, Relaxed);
    }
    expect!(Ok(()), munmap(at, LENGTH), "munmap");
    let mut seen = [0];
    let last = LENGTH / 8 * 7;
    expect!((Ok(1), 1), (pread(file, &mut seen, last), seen[0]), "a store to a large file");
    expect!(Ok(0), close(file), "close");
    expect!(Ok(0), unlink(c"/large"), "unlink");
}
