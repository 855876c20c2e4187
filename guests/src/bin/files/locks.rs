//! Locks between processes.

use core::sync::atomic::Ordering::*;
use guests::calls::*;
use guests::process::{End, child};
use guests::{Map, expect, println};

const GETLK: usize = 5;
const SETLK: usize = 6;
const SETLKW: usize = 7;
const OFD_SETLK: usize = 37;
const READ: u64 = 0;
const WRITE: u64 = 1;
const UNLOCK: u64 = 2;

/// fcntl with `struct flock`: the result, and the lock that was told.
fn lock(file: usize, command: usize, kind: u64, start: u64, length: u64) -> (Answer, [u64; 4]) {
    let mut words = [kind, start, length, 0];
    let answer = call(25, [file, command, words.as_mut_ptr() as usize, 0, 0, 0]);
    (answer, words)
}

fn try_lock(file: usize, kind: u64, start: u64, length: u64) -> Answer {
    lock(file, SETLK, kind, start, length).0
}

pub fn run() {
    let file = fresh(c"/locks");
    let me = guests::syscall::getpid() as u64;
    expect!(Ok(0), try_lock(file, WRITE, 10, 10), "a lock");
    expect!(Ok(0), try_lock(file, READ, 100, 0), "a lock for reading");
    child(|| {
        expect!(Err(EAGAIN), try_lock(file, READ, 19, 1), "a lock of somebody else's");
        expect!(Ok(0), try_lock(file, READ, 0, 10), "what is free");
        expect!(Ok(0), try_lock(file, READ, 200, 1), "readers share");
        expect!(Err(EAGAIN), try_lock(file, WRITE, 200, 1), "a writer among readers");
        let (answer, told) = lock(file, GETLK, WRITE, 0, 50);
        expect!((Ok(0), [WRITE, 10, 10, me]), (answer, told), "who has it");
        expect!(Err(EAGAIN), lock(file, OFD_SETLK, WRITE, 10, 1).0, "by the description");
        0
    })
    .expect(End::Exit(0), format_args!("a child that locks"));
    expect!(Ok(0), try_lock(file, WRITE, 0, 10), "a child's locks end with it");
    waits(file);
    circle(file);
    closing(file);
    whole(file);
    expect!(Ok(0), close(file), "close");
    expect!(Ok(0), unlink(c"/locks"), "unlink");
    println!("files: locks exclude, wait, are given up, and do not wait in circles");
}

/// Who waits for a lock gets it when it is given up.
fn waits(file: usize) {
    let shared = Map::shared(1);
    let word = shared.word(0, 0);
    let waiter = child(|| {
        expect!(Ok(0), lock(file, SETLKW, WRITE, 15, 1).0, "a lock that was waited for");
        expect!(1, word.load(Acquire), "the word, once the lock is there");
        0
    });
    word.store(1, Release);
    expect!(Ok(0), try_lock(file, UNLOCK, 0, 0), "unlock");
    waiter.expect(End::Exit(0), format_args!("a child that waits"));
    shared.free();
}

/// The parent has 0 and wants 1, the child has 1 and wants 0: whoever asks last is refused.
fn circle(file: usize) {
    let shared = Map::shared(1);
    let (ready, refused) = (shared.word(0, 0), shared.word(0, 1));
    expect!(Ok(0), try_lock(file, WRITE, 0, 1), "the first lock");
    let one = |wanted: u64| match lock(file, SETLKW, WRITE, wanted, 1).0 {
        Ok(_) => {}
        Err(error) => {
            expect!(EDEADLK, error, "a circle of waits");
            refused.fetch_add(1, AcqRel);
            expect!(Ok(0), try_lock(file, UNLOCK, 0, 0), "giving way");
        }
    };
    let other = child(|| {
        expect!(Ok(0), try_lock(file, WRITE, 1, 1), "the second lock");
        ready.store(1, Release);
        one(0);
        0
    });
    while ready.load(Acquire) == 0 {
        core::hint::spin_loop();
    }
    one(1);
    expect!(Ok(0), try_lock(file, UNLOCK, 0, 0), "unlock");
    other.expect(End::Exit(0), format_args!("the other in the circle"));
    expect!(1, refused.load(Acquire), "who was refused");
    shared.free();
}

/// Closing any descriptor of a file gives up the process's locks on it.
fn closing(file: usize) {
    expect!(Ok(0), try_lock(file, WRITE, 0, 0), "a lock");
    let again = open(c"/locks", 0).unwrap_or(usize::MAX);
    expect!(Err(EBADF), try_lock(again, WRITE, 0, 0), "a writer's lock, open for reading");
    expect!(Ok(0), close(again), "close");
    child(|| {
        expect!(Ok(0), try_lock(file, WRITE, 0, 0), "a lock that was given up");
        0
    })
    .expect(End::Exit(0), format_args!("a child that locks"));
}

/// flock: a description's, so a fork shares it.
fn whole(file: usize) {
    const EXCLUSIVE: usize = 2;
    const NONBLOCK: usize = 4;
    const UNLOCK: usize = 8;
    let flock = |file, operation| call(32, [file, operation, 0, 0, 0, 0]);
    let again = open(c"/locks", 0).unwrap_or(usize::MAX);
    expect!(Ok(0), flock(file, EXCLUSIVE), "flock");
    expect!(Err(EAGAIN), flock(again, EXCLUSIVE | NONBLOCK), "flock by another description");
    child(|| {
        expect!(Ok(0), flock(file, EXCLUSIVE | NONBLOCK), "flock by the same description");
        0
    })
    .expect(End::Exit(0), format_args!("a child that locks"));
    expect!(Ok(0), flock(file, UNLOCK), "flock");
    expect!(Ok(0), flock(again, EXCLUSIVE | NONBLOCK), "flock of what is free");
    expect!(Ok(0), close(again), "close");
}
