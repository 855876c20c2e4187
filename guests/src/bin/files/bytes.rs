//! Bytes: reading, writing, positions, lengths; bad pointers; the last descriptor.

use core::ffi::CStr;
use guests::calls::*;
use guests::{Map, expect, page_size, println, syscall};

pub fn run() {
    let file = fresh(c"/bytes");
    let mut buffer = [0; 16];
    expect!(Ok(5), write(file, b"hello"), "write");
    expect!(Ok(0), read(file, &mut buffer), "read at the end");
    expect!(Ok(1), seek(file, 1, 0), "lseek");
    expect!(Ok(4), read(file, &mut buffer), "read");
    expect!(b"ello", &buffer[..4], "what was written");
    expect!(Ok(2), pwrite(file, b"HE", 0), "pwrite");
    expect!(Ok(5), seek(file, 0, 1), "pwrite leaves the position");
    expect!(Ok(3), pread(file, &mut buffer[..3], 0), "pread");
    expect!(b"HEl", &buffer[..3], "what was written at an offset");
    expect!(Ok(10_000), seek(file, 9_995, 2), "lseek beyond the end");
    expect!(Ok(1), write(file, b"!"), "write beyond the end");
    expect!(Ok(2), pread(file, &mut buffer[..2], 9_000), "pread in the hole");
    expect!(&[0, 0], &buffer[..2], "a hole is zeros");
    expect!(Ok(0), truncate(file, 3), "ftruncate");
    expect!(Ok(3), pread(file, &mut buffer, 0), "pread of what is left");
    expect!(Ok(0), truncate(file, 8), "ftruncate to more");
    expect!(Ok(8), pread(file, &mut buffer, 0), "pread of more");
    expect!(b"HEl\0\0\0\0\0", &buffer[..8], "what was cut off stays away");
    expect!(Err(EINVAL), seek(file, -1, 0), "lseek before the start");
    expect!(Err(EINVAL), truncate(file, usize::MAX), "ftruncate to less than nothing");
    append(file);
    pointers(file);
    access();
    devices();
    pipes();
    expect!(Ok(0), close(file), "close");
    expect!(Ok(0), unlink(c"/bytes"), "unlink");
    parts();
    println!("files: bytes are where they were written");
}

fn append(file: usize) {
    let appending = open(c"/bytes", WRITE_ONLY | APPEND).unwrap_or(usize::MAX);
    expect!(Ok(3), write(appending, b"abc"), "append");
    expect!(Ok(2), write(file, b"de"), "write elsewhere");
    expect!(Ok(1), write(appending, b"z"), "append again");
    let mut tail = [0; 1];
    let end = stat(file).map(|stat| stat.2 as usize).unwrap_or(0);
    expect!(Ok(1), pread(file, &mut tail, end - 1), "the end");
    expect!(b"z", &tail, "what was appended last");
    expect!(Ok(0), close(appending), "close");
}

/// A count that ends with the memory, or EFAULT when there is none.
fn pointers(file: usize) {
    let page = page_size();
    let map = Map::private(3);
    map.fill(0..3, 1);
    map.unmap(2..3);
    let hole = map.address(2);
    expect!(Ok(0), truncate(file, 0), "ftruncate");
    let at = |number, address, length| call(number, [file, address, length, 0, 0, 0]);
    const PREAD: usize = 67;
    const PWRITE: usize = 68;
    expect!(Ok(100), at(PWRITE, hole - 100, 5000), "pwrite across the end of a mapping");
    expect!(Err(EFAULT), at(PWRITE, hole, 10), "pwrite from nothing");
    expect!(Ok(0), truncate(file, 4 * page), "ftruncate");
    expect!(Ok(page), at(PREAD, hole - page, 2 * page), "pread across the end of a mapping");
    expect!(Err(EFAULT), at(PREAD, hole, 10), "pread into nothing");
    expect!(Err(EFAULT), at(PREAD, 1 << 62, 10), "pread beyond all memory");
    let vector = [[hole - 8, 8], [hole, 8]];
    let vector = vector.as_ptr() as usize;
    expect!(Ok(8), call(70, [file, vector, 2, 0, 0, 0]), "pwritev with a bad part");
    expect!(Err(EINVAL), call(70, [file, vector, 1025, 0, 0, 0]), "pwritev of too many parts");
    expect!(Err(EFAULT), call(70, [file, hole, 1, 0, 0, 0]), "pwritev without parts");
    expect!(Err(EFAULT), call(80, [file, hole, 0, 0, 0, 0]), "fstat into nothing");
    expect!(Err(EFAULT), call(56, [HERE, hole, 0, 0, 0, 0]), "openat of nothing");
    expect!(Err(EINVAL), call(67, [file, hole, 1, usize::MAX, 0, 0]), "pread at -1");
    map.unmap(0..2);
}

/// What cannot be stored stays in a pipe; nothing can be written to one that nobody reads.
fn pipes() {
    let map = Map::private(2);
    map.fill(0..2, 1);
    map.unmap(1..2);
    let hole = map.address(1);
    let Ok(ends) = guests::syscall::pipe2(0) else { guests::fail!("pipe2") };
    let [from, to] = ends.map(|end| end as usize);
    let mut buffer = [0; 16];
    expect!(Ok(10), write(to, b"0123456789"), "write to a pipe");
    expect!(Err(EFAULT), call(63, [from, hole - 4, 10, 0, 0, 0]), "read across the end");
    expect!(Ok(10), read(from, &mut buffer), "read of what is there still");
    expect!(b"0123456789", &buffer[..10], "it");
    expect!(Ok(0), read(from, &mut []), "read of nothing");
    expect!(Ok(0), close(from), "close");
    expect!(Ok(0), write(to, b""), "write of nothing to nobody");
    expect!(Ok(0), close(to), "close");
    expect!(Ok(4), call(278, [hole - 4, 10, 0, 0, 0, 0]), "getrandom across the end");
    expect!(Err(EFAULT), call(278, [hole, 10, 0, 0, 0, 0]), "getrandom into nothing");
    map.unmap(0..1);
}

fn access() {
    let only = open(c"/bytes", 0).unwrap_or(usize::MAX);
    expect!(Err(EBADF), write(only, b"x"), "write to what is open for reading");
    expect!(Err(EINVAL), truncate(only, 0), "ftruncate of what is open for reading");
    expect!(Ok(0), close(only), "close");
    let only = open(c"/bytes", WRITE_ONLY).unwrap_or(usize::MAX);
    expect!(Err(EBADF), read(only, &mut [0]), "read from what is open for writing");
    expect!(Ok(0), close(only), "close");
    let directory = open(c"/", DIRECTORY).unwrap_or(usize::MAX);
    expect!(Err(EISDIR), read(directory, &mut [0]), "read from a directory");
    expect!(Ok(0), close(directory), "close");
    expect!(Err(ESPIPE), seek(1, 0, 1), "lseek of standard output");
}

fn devices() {
    let mut bytes = [1; 4];
    let zero = open(c"/dev/zero", READ_WRITE).unwrap_or(usize::MAX);
    expect!(Ok(4), read(zero, &mut bytes), "read from /dev/zero");
    expect!([0; 4], bytes, "/dev/zero");
    let full = open(c"/dev/full", WRITE_ONLY).unwrap_or(usize::MAX);
    expect!(Err(ENOSPC), write(full, b"x"), "write to /dev/full");
    let null = open(c"/dev/null", READ_WRITE).unwrap_or(usize::MAX);
    expect!((Ok(1), Ok(0)), (write(null, b"x"), read(null, &mut bytes)), "/dev/null");
    let random = open(c"/dev/urandom", 0).unwrap_or(usize::MAX);
    let mut sixteen = [0; 16];
    expect!(Ok(16), read(random, &mut sixteen), "read from /dev/urandom");
    expect!(true, sixteen != [0; 16], "/dev/urandom");
    for file in [zero, full, null, random] {
        expect!(Ok(0), close(file), "close of a device");
    }
}

/// Every descriptor there is, and one more; then all go at once.
pub fn exhaust() {
    const CLOSE_RANGE: usize = 436;
    let first = fresh(c"/exhaust");
    let last = loop {
        match open(c"/exhaust", 0) {
            Ok(file) => expect!(true, file < 1024, "a descriptor"),
            Err(error) => break error,
        }
    };
    expect!(EMFILE, last, "one descriptor too many");
    expect!(Err(EMFILE), open(c"/new", CREATE | READ_WRITE), "a new file without a descriptor");
    expect!(Ok(0), call(CLOSE_RANGE, [first + 1, u32::MAX as usize, 0, 0, 0, 0]), "close_range");
    expect!(Err(ENOENT), open(c"/new", 0), "the file that could not be opened was not made");
    expect!(Ok(first + 1), open(c"/exhaust", 0), "the lowest descriptor");
    expect!(Ok(0), close(first + 1), "close");
    expect!(Ok(0), close(first), "close");
    expect!(Ok(0), unlink(c"/exhaust"), "unlink");
    many();
    println!("files: 1024 descriptors and no more");
}

/// As many files as descriptors allow, open at once.
fn many() {
    const FILES: usize = 1000;
    let mut path = *b"/many-000\0";
    let mut each = |visit: &dyn Fn(&CStr, usize)| {
        for n in 0..FILES {
            for (digit, weight) in path[6..9].iter_mut().zip([100, 10, 1]) {
                *digit = b'0' + (n / weight % 10) as u8;
            }
            visit(CStr::from_bytes_until_nul(&path).unwrap_or_default(), n);
        }
    };
    let first = fresh(c"/many-000");
    each(&|path, n| {
        let file = if n == 0 { first } else { fresh(path) };
        expect!(first + n, file, "descriptor of file {n}");
        expect!(Ok(2), write(file, &(n as u16).to_le_bytes()), "write to file {n}");
    });
    each(&|path, n| {
        let mut seen = [0; 2];
        expect!(Ok(2), pread(first + n, &mut seen, 0), "pread of file {n}");
        expect!((n as u16).to_le_bytes(), seen, "what is in file {n}");
        expect!(Ok(0), close(first + n), "close of file {n}");
        expect!(Ok(0), unlink(path), "unlink of file {n}");
    });
}

/// A pipe's bytes go to all parts of a vector; what cannot be stored is not lost.
fn parts() {
    let ends = syscall::pipe2(0).unwrap_or([-1; 2]).map(|end| end as usize);
    expect!(Ok(8), write(ends[1], b"abcdefgh"), "write to a pipe");
    let (mut first, mut second) = ([0u8; 3], [0u8; 9]);
    let parts = [first.as_mut_ptr() as usize, 3, 0, 0, second.as_mut_ptr() as usize, 9];
    expect!(Ok(8), call(65, [ends[0], parts.as_ptr() as usize, 3, 0, 0, 0]), "readv of a pipe");
    expect!((*b"abc", *b"defgh\0\0\0\0"), (first, second), "what readv has read");
    let map = Map::private(2);
    map.unmap(1..2);
    let end = map.address(0) + page_size();
    expect!(Ok(8), write(ends[1], b"ijklmnop"), "write to a pipe");
    let bad = call(63, [ends[0], end - 3, 8, 0, 0, 0]);
    expect!(Err(EFAULT), bad, "a page of a pipe that cannot be stored whole");
    expect!(Ok(8), read(ends[0], &mut second), "the same again");
    expect!(b"ijklmnop", &second[..8], "what was not lost");
    for end in ends {
        expect!(Ok(0), close(end), "close");
    }
    map.free();
}

/// Standard input, eight bytes, for three of which there is room at first.
pub fn input() {
    let map = Map::private(2);
    map.unmap(1..2);
    let end = map.address(0) + page_size();
    expect!(Err(EFAULT), call(63, [0, end, 8, 0, 0, 0]), "no room");
    expect!(Ok(3), call(63, [0, end - 3, 8, 0, 0, 0]), "room for three bytes");
    let mut rest = [0; 9];
    expect!(Ok(5), read(0, &mut rest), "the rest");
    expect!(b"defgh", &rest[..5], "the rest");
    expect!(Ok(0), read(0, &mut rest), "the end");
    println!("ok");
}
