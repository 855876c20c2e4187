//! The last page of memory and the last process.

use core::sync::atomic::Ordering::*;
use guests::process::{End, child};
use guests::syscall::{self, Errno, flag, prot};
use guests::{Args, Map, expect, fail, page_size, println};

/// `exhaust [MIB]`: a child touches memory, a MiB at a time, until there is no more, it is killed, or it
/// has had its fill (512). Its memory then comes back: the parent uses some of it.
pub fn exhaust(args: Args) {
    let mib = args.number(2, 512);
    let pages = (1 << 20) / page_size();
    let eater = child(|| {
        for _ in 0..mib {
            match Map::try_new(pages, prot::RW, flag::PRIVATE) {
                Ok(map) => map.fill(0..pages, 1),
                Err(Errno::ENOMEM) => return 2,
                Err(error) => fail!("exhaust: mmap: expected ENOMEM, seen {error}"),
            }
        }
        0
    });
    match eater.wait() {
        End::Exit(0) => println!("exhaust: the child had its fill"),
        End::Exit(2) => println!("exhaust: mmap gave the child ENOMEM"),
        End::KILL => println!("exhaust: SIGKILL ended the child"),
        End::Exit(1) => syscall::exit_group(1), // it has said why
        end => fail!("exhaust: expected success, ENOMEM or SIGKILL, seen {end}"),
    }
    let map = Map::private(pages);
    map.fill(0..pages, 2);
    map.check(0..pages, 2, format_args!("exhaust: the parent's memory afterwards"));
    map.free();
}

/// What every process of the bomb leaves with.
const STATUS: i32 = 10;

/// `forkbomb [CAP]`: every process forks until one is refused or the cap (600) is reached; then each
/// waits for its children and ends. Afterwards a fork succeeds again.
pub fn forkbomb(args: Args) {
    let cap = args.number(2, 600) as u64;
    let shared = Map::shared(1);
    let (made, over) = (shared.word(0, 0), shared.word(0, 8));
    let mut root = true;
    while over.load(Acquire) == 0 {
        if made.fetch_add(1, AcqRel) >= cap {
            over.store(1, Release);
            break;
        }
        match syscall::fork() {
            Ok(0) => root = false,
            Ok(_) => {}
            // Out of processes, or of memory for one more.
            Err(Errno::EAGAIN | Errno::ENOMEM) => over.store(2, Release),
            Err(error) => fail!("forkbomb: fork: expected EAGAIN, seen {error}"),
        }
    }
    loop {
        match syscall::wait4(-1).map(|(_, status)| End::of(status)) {
            Ok(End::Exit(STATUS) | End::KILL) => {} // killed where memory ran out
            Ok(End::Exit(1)) => syscall::exit_group(1),
            Ok(end) => fail!("forkbomb: a child: expected exit status {STATUS}, seen {end}"),
            Err(Errno::ECHILD) => break,
            Err(error) => fail!("forkbomb: wait4: expected ECHILD, seen {error}"),
        }
    }
    if !root {
        syscall::exit_group(STATUS);
    }
    child(|| 7).expect(End::Exit(7), format_args!("forkbomb: a fork afterwards"));
    let end = if over.load(Acquire) == 1 { "the cap was reached" } else { "fork was refused" };
    expect!(true, made.load(Acquire) > 1, "forkbomb: processes made");
    shared.free();
    println!("forkbomb: {end}; all exited");
}
