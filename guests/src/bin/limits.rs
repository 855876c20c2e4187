//! `limits [many]`: how much a process may map in all, or in how many mappings, as on Linux.
#![no_std]
#![no_main]

use core::sync::atomic::Ordering::Relaxed;
use guests::process::{End, child};
use guests::syscall::{self, Errno, flag, prot, remap};
use guests::{Args, Map, expect, fail, page_size, println, start};

guests::main!(main);

/// RLIMIT_AS and RLIMIT_MEMLOCK.
const ALL: usize = 9;
const LOCKED: usize = 8;
/// vm.max_map_count
const MOST: usize = 65_530;

fn main(args: Args) {
    match args.get(1) {
        None => {}
        Some("many") => {
            many();
            return println!("ok");
        }
        Some(wanted) => start::usage(1, wanted, "many or nothing"),
    }
    child(all).expect(End::Exit(0), format_args!("a child with a limit of all that is mapped"));
    child(lowered).expect(End::Exit(0), format_args!("a child that lowers its limit of locks"));
    println!("ok");
}

/// prlimit: sets a soft and a hard limit.
fn limit(resource: usize, soft: usize, hard: usize) -> Result<(), Errno> {
    let limits = [soft, hard];
    let args = [0, resource, limits.as_ptr() as usize, 0, 0, 0];
    // SAFETY: the call reads two words.
    syscall::result(unsafe { syscall::raw(261, args) }).map(drop)
}

fn brk(to: usize) -> usize {
    // SAFETY: nothing here has a heap.
    syscall::result(unsafe { syscall::raw(214, [to, 0, 0, 0, 0, 0]) }).unwrap_or(0)
}

/// What a short file says.
fn text<'a>(path: &core::ffi::CStr, bytes: &'a mut [u8]) -> &'a [u8] {
    // SAFETY: the path has its zero.
    let file = unsafe { syscall::raw(56, [0, path.as_ptr() as usize, 0, 0, 0, 0]) };
    let length = syscall::read(file as usize, bytes).unwrap_or(0);
    // SAFETY: nobody else has the descriptor.
    unsafe { syscall::raw(57, [file as usize, 0, 0, 0, 0, 0]) };
    &bytes[..length]
}

/// How much is mapped, in pages.
fn mapped() -> usize {
    let mut bytes = [0; 64];
    let digits = text(c"/proc/self/statm", &mut bytes).split(|byte| *byte == b' ').next();
    digits.unwrap_or(b"").iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

fn all() -> i32 {
    const ROOM: usize = 64;
    let (page, full) = (page_size(), Err(Errno::ENOMEM));
    let map = Map::private(ROOM / 2);
    // From here on there is room for so many pages and a bit.
    let most = (mapped() + ROOM) * page + 1;
    expect!(Ok(()), limit(ALL, most, most), "prlimit(RLIMIT_AS)");
    expect!(Err(Errno::EPERM), limit(ALL, most, most + 1), "a hard limit that is raised");
    expect!(Err(Errno::EINVAL), limit(ALL, most + 1, most), "a soft limit beyond the hard one");
    let big = Map::try_new(ROOM + 1, prot::NONE, flag::PRIVATE).map(|_| ());
    expect!(full, big, "mmap beyond RLIMIT_AS");
    let end = brk(0);
    expect!(end, brk(end + (ROOM + 1) * page), "brk beyond RLIMIT_AS");
    let longer = syscall::mremap(
        map.address(0),
        map.pages() * page,
        (map.pages() + ROOM + 1) * page,
        remap::MAYMOVE,
        0,
    );
    expect!(full, longer.map(|_| ()), "mremap beyond RLIMIT_AS");
    let rest = Map::private(ROOM - 1);
    child(|| {
        expect!(full, Map::try_new(2, prot::RW, flag::PRIVATE).map(|_| ()), "a child's mmap");
        0
    })
    .expect(End::Exit(0), format_args!("a child of the child"));
    rest.replace(0..ROOM - 1);
    expect!(ROOM - 1, rest.pages(), "a mapping over another");
    let last = Map::private(1);
    child(|| deep(256)).expect(End::SEGV, format_args!("a stack beyond RLIMIT_AS"));
    last.free();
    rest.free();
    child(outgrown).expect(End::SEGV, format_args!("a program larger than RLIMIT_AS"));
    0
}

/// Uses so many steps of 4 KiB of the stack.
#[inline(never)]
fn deep(left: usize) -> i32 {
    let bytes = core::hint::black_box([1u8; 4096]);
    match left {
        0 => 0,
        _ => deep(left - 1) + i32::from(core::hint::black_box(bytes[left % 4096])) - 1,
    }
}

/// Executes this program where there is no room for its stack.
fn outgrown() -> i32 {
    let most = 2 * page_size();
    expect!(Ok(()), limit(ALL, most, most), "a lower RLIMIT_AS");
    let error = syscall::execve(c"/proc/self/exe", &[c"limits"], c"NAME=value");
    fail!("execve beyond RLIMIT_AS: {error}")
}

fn lowered() -> i32 {
    let page = page_size();
    let (map, to) = (Map::private(4), Map::private(4));
    expect!(Ok(()), syscall::about(syscall::nr::MLOCK, map.address(0), 4 * page, 0), "mlock");
    expect!(Ok(()), limit(LOCKED, page, 8 << 20), "prlimit(RLIMIT_MEMLOCK)");
    let flags = remap::MAYMOVE | remap::FIXED;
    let moved = syscall::mremap(map.address(0), 4 * page, 4 * page, flags, to.address(0));
    expect!(Ok(to.address(0)), moved, "mremap of what is locked beyond a lowered limit");
    let longer = syscall::mremap(to.address(0), 4 * page, 5 * page, remap::MAYMOVE, 0);
    expect!(Err(Errno::EAGAIN), longer, "growth beyond a lowered limit");
    0
}

/// How many lines /proc/self/maps has.
fn lines() -> usize {
    let mut bytes = [0; 4096];
    // SAFETY: the path has its zero.
    let file = unsafe { syscall::raw(56, [0, c"/proc/self/maps".as_ptr() as usize, 0, 0, 0, 0]) };
    let mut lines = 0;
    while let Ok(length @ 1..) = syscall::read(file as usize, &mut bytes) {
        lines += bytes[..length].iter().filter(|byte| **byte == b'\n').count();
    }
    lines
}

fn many() {
    let full = Err(Errno::ENOMEM);
    let map = Map::new(MOST + 100, prot::NONE, flag::PRIVATE | flag::NORESERVE);
    let page = page_size();
    let protect = |at| syscall::mprotect(map.address(at), page, prot::READ);
    let Some(last) = (1..MOST).step_by(2).find(|at| protect(*at).is_err()) else {
        fail!("mprotect made more than {MOST} mappings");
    };
    expect!(full, protect(last), "one mapping too many by mprotect");
    let count = lines();
    expect!(MOST, count.max(MOST - 1) + usize::from(count < MOST), "mappings: {count}, {last}");
    let hole = |at, pages| syscall::munmap(map.address(at), pages * page);
    if count < MOST {
        expect!(Ok(()), hole(last + 2, 1), "a hole that makes the last mapping");
    }
    expect!(full, hole(last + 6, 1), "a hole in a mapping, one too many");
    expect!(full, syscall::madvise(map.address(last + 6), page, 10), "MADV_DONTFORK of a part");
    expect!(Ok(()), syscall::madvise(map.address(last + 6), page, syscall::DONTNEED), "a part");
    // One more is let through, as on Linux, and then none.
    let one = Map::new(1, prot::RW, flag::SHARED);
    expect!(full, Map::try_new(1, prot::READ, flag::SHARED).map(|_| ()), "one too many by mmap");
    expect!(MOST + 1, lines(), "how many mappings there are in the end");
    one.word(0, 0).store(1, Relaxed);
    let again = |old| syscall::mremap(one.address(0), old, page, remap::MAYMOVE, 0).map(drop);
    expect!(full, again(0), "a mapping once more, one too many by mremap");
    expect!(Ok(()), again(page), "mremap to the same length");
    let flags = remap::MAYMOVE | remap::DONTUNMAP;
    let left = syscall::mremap(one.address(0), page, page, flags, 0).map(drop);
    expect!(full, left, "a mapping that leaves one behind, one too many by mremap");
    expect!(Ok(()), hole(1, 100), "whole mappings");
    expect!(Ok(()), hole(last + 6, 1), "a hole, when there is room again");
    expect!(Ok(()), again(0), "a mapping once more, when there is room again");
}
