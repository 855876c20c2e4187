//! `hog`: takes memory without end until Linux's out-of-memory killer ends it, beside processes that
//! must not suffer for it; what is chosen by oom_score_adj. Under qemu it would take the host's memory.
//! `hog dying|called|futex|robust|exempt`: who is killed already, who finds none in a call, what a
//! victim owes to others, and where nobody may be chosen: on one hart, without swap.
#![no_std]
#![no_main]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use guests::calls::{self, EINVAL, ERANGE, READ_WRITE};
use guests::process::{Child, End, child};
use guests::sync::Turn;
use guests::syscall::{self, Errno, flag, prot};
use guests::{Args, Map, expect, fail, page_size, pattern, println};

guests::main!(main);

const ROUNDS: usize = 3;
const KILL: usize = 9;

fn main(args: Args) {
    match args.get(1) {
        None => takes_all(),
        Some("dying") => dying(),
        Some("called") => called(),
        Some("futex") => futex(),
        Some("robust") => robust(),
        Some("exempt") => exempt(),
        Some(other) => guests::start::usage(1, other, "dying|called|futex|robust|exempt"),
    }
    println!("ok");
}

fn takes_all() {
    adjustments();
    println!("hog: oom_score_adj is checked, inherited and seen in oom_score");
    for round in 0..ROUNDS {
        let (turns, other) = keeper(1, 10, "0");
        turns[0].wait(1);
        hog().expect(End::KILL, format_args!("round {round}, who takes all"));
        turns[1].pass(1);
        other.expect(End::Exit(0), format_args!("round {round}, who keeps a tenth"));
    }
    println!("hog: who takes all is ended, {ROUNDS} times");
    let (turns, other) = keeper(2, 60, "-1000");
    turns[0].wait(1);
    hog().expect(End::KILL, format_args!("who has less, but is not exempt"));
    turns[1].pass(1);
    other.expect(End::Exit(0), format_args!("who has most and is exempt"));
    println!("hog: who is exempt is not chosen");
    let (turns, other) = keeper(3, 10, "1000");
    turns[0].wait(1);
    let hog = hog();
    other.expect(End::KILL, format_args!("who has little and is to be chosen first"));
    hog.expect(End::KILL, format_args!("who takes all, next"));
    println!("hog: who is to be chosen first is");
}

/// Pages that a process wants where fewer are free.
const WANTED: usize = 64;

/// Who was killed by hand has not run since, so his memory is not free yet.
fn dying() {
    let (turns, other) = keeper(4, 30, "0");
    turns[0].wait(1);
    let filler = filler();
    send(&filler, KILL);
    let map = Map::private(WANTED);
    map.fill(0..WANTED, 5);
    map.check(0..WANTED, 5, format_args!("what was wanted"));
    filler.expect(End::KILL, format_args!("who was killed by hand"));
    turns[1].pass(1);
    other.expect(End::Exit(0), format_args!("who is the largest that lives"));
}

/// One call wants more than its first victim gives, and that one has no hart to end on.
fn called() {
    let (turns, small) = keeper(6, 1, "1000");
    turns[0].wait(1);
    let filler = filler();
    let map = Map::private(WANTED);
    let zeros = calls::open(c"/dev/zero", 0).unwrap_or_else(|error| fail!("/dev/zero: {error}"));
    let length = WANTED * page_size();
    let read = calls::call(syscall::nr::READ, [zeros, map.address(0), length, 0, 0, 0]);
    expect!(Ok(length), read, "read of more than is free");
    small.expect(End::KILL, format_args!("the first victim"));
    filler.expect(End::KILL, format_args!("the second"));
}

/// Words on pages that are not there yet, so far from one another that each needs a table too.
fn futex() {
    const ADD_ONE: usize = 1 << 28 | 1 << 12;
    let apart = Map::words();
    for (operation, answer, value) in [(0, Err(Errno::EAGAIN), 0), (5, Ok(0), 1)] {
        let filler = filler();
        let map = Map::new(WANTED * apart, prot::RW, flag::PRIVATE | flag::NORESERVE);
        for page in (0..map.pages()).step_by(apart) {
            let word = map.address(page);
            let seen = calls::call(syscall::nr::FUTEX, [word, operation, 1, 0, word, ADD_ONE]);
            expect!(answer, seen, "futex operation {operation} on page {page}");
            let seen = map.word(page, 0).load(Relaxed);
            expect!(value, seen, "page {page} after operation {operation}");
        }
        filler.expect(End::KILL, format_args!("who has all the memory"));
        map.free();
    }
}

/// A victim holds a robust futex, and others want its memory while it has no hart.
fn robust() {
    const SET_ROBUST_LIST: usize = 99;
    const WAITERS: u64 = 1 << 31;
    const OWNER_DIED: u64 = 1 << 30;
    let map = Map::shared(1);
    let [held, entry, ready] = [0, 1, 2].map(|nth| map.word(0, nth));
    let ready = Turn::in_word(ready);
    let owner = child(|| {
        expect!(Ok(4), adjust("1000"), "adjustment to 1000");
        let address = |word: &AtomicU64| word.as_ptr() as u64;
        let list = Map::private(1);
        let head = [0, 1, 2].map(|nth| list.word(0, nth));
        entry.store(address(head[0]), Relaxed);
        head[0].store(address(entry), Relaxed);
        head[1].store(address(held).wrapping_sub(address(entry)), Relaxed);
        let arguments = [list.address(0), 24, 0, 0, 0, 0];
        expect!(Ok(0), calls::call(SET_ROBUST_LIST, arguments), "set_robust_list");
        held.store(syscall::gettid() as u64 | WAITERS, Relaxed);
        ready.pass(1);
        ready.wait(2);
        fail!("the owner went on")
    });
    ready.wait(1);
    let hog = hog();
    owner.expect(End::KILL, format_args!("who is to be chosen first"));
    expect!(WAITERS | OWNER_DIED, held.load(Relaxed), "what the victim held");
    hog.expect(End::KILL, format_args!("who takes all"));
}

/// Nobody may be chosen.
fn exempt() {
    expect!(Ok(5), adjust("-1000"), "adjustment to -1000");
    hog().expect(End::KILL, format_args!("who takes all, and is exempt as all are"));
}

/// A child that has nearly all that is free, and sleeps.
fn filler() -> Child {
    const LEFT: usize = 16;
    let words = Map::shared(1);
    let turns = [0, 1].map(|nth| Turn::in_word(words.word(0, nth)));
    let filler = child(|| {
        let map = Map::private(free_pages());
        let filled = (0..map.pages()).take_while(|_| free_pages() > LEFT);
        filled.for_each(|page| map.fill(page..page + 1, 3));
        turns[0].pass(1);
        turns[1].wait(1);
        fail!("the child that has all memory went on")
    });
    turns[0].wait(1);
    filler
}

fn send(child: &Child, signal: usize) {
    let arguments = [child.number(), signal, 0, 0, 0, 0];
    expect!(Ok(0), calls::call(syscall::nr::KILL, arguments), "kill with signal {signal}");
}

/// A child with that adjustment that fills so many hundredths of what is free, passes the first turn,
/// and verifies its own when it gets the second.
fn keeper(version: u64, hundredths: usize, adjustment: &str) -> ([&'static Turn; 2], Child) {
    let words = Map::shared(1);
    let turns = [0, 1].map(|nth| Turn::in_word(words.word(0, nth)));
    let pages = free_pages() * hundredths / 100;
    let keeper = child(|| {
        expect!(Ok(adjustment.len()), adjust(adjustment), "adjustment to {adjustment}");
        let map = Map::private(pages);
        pattern::write(&map, 0..pages, version, (0, 1));
        turns[0].pass(1);
        turns[1].wait(1);
        pattern::check(&map, 0..pages, version, format_args!("who keeps {hundredths} in 100"));
        0
    });
    (turns, keeper)
}

/// A child that takes memory without end.
fn hog() -> Child {
    child(|| {
        let mut pages = (1 << 40) / page_size();
        let map = loop {
            match Map::try_new(pages, prot::RW, flag::PRIVATE | flag::NORESERVE) {
                Ok(map) => break map,
                Err(_) if pages > 1 => pages /= 2,
                Err(error) => fail!("mmap of a page: {error}"),
            }
        };
        pattern::write(&map, 0..pages, 7, (0, 1));
        fail!("wrote all {pages} pages that could be mapped")
    })
}

/// Pages that are free, on swap too.
fn free_pages() -> usize {
    const SYSINFO: usize = 179;
    let mut words = [0usize; 14];
    expect!(Ok(0), calls::call(SYSINFO, [words.as_mut_ptr() as usize, 0, 0, 0, 0, 0]), "sysinfo");
    // uptime, three loads, totalram, freeram, sharedram, bufferram, totalswap, freeswap; then half a
    // word each of procs and padding, totalhigh, freehigh, and the unit.
    let unit = words[13] & 0xffff_ffff;
    (words[5] + words[8]) * unit / page_size()
}

fn adjust(text: &str) -> Result<usize, Errno> {
    let file = calls::open(c"/proc/self/oom_score_adj", READ_WRITE)?;
    let written = calls::write(file, text.as_bytes());
    calls::close(file)?;
    written
}

/// What a file of /proc says.
fn number(path: &core::ffi::CStr) -> i64 {
    let mut text = [0; 16];
    let file = calls::open(path, 0).unwrap_or_else(|error| fail!("open of {path:?}: {error}"));
    let read = calls::read(file, &mut text).unwrap_or(0);
    expect!(Ok(0), calls::close(file), "close");
    let text = str::from_utf8(&text[..read]).unwrap_or_default();
    text.trim_end().parse().unwrap_or_else(|_| fail!("{path:?}: a number, seen {text:?}"))
}

fn adjustments() {
    const OWN: &core::ffi::CStr = c"/proc/self/oom_score_adj";
    expect!(0, number(OWN), "the first adjustment");
    for (text, wanted) in [("x", EINVAL), ("99999999999", ERANGE)] {
        expect!(Err(wanted), adjust(text), "adjustment to {text:?}");
    }
    for text in ["1001", "-1001"] {
        expect!(Err(EINVAL), adjust(text), "adjustment to {text}");
    }
    let young = child(|| {
        expect!(Ok(4), adjust("500\n"), "adjustment to 500");
        let grandchild = child(|| number(OWN) as i32 / 100);
        grandchild.expect(End::Exit(5), format_args!("who inherits 500"));
        expect!(true, number(c"/proc/self/oom_score") >= 990, "oom_score with 500");
        expect!(Ok(5), adjust("-1000"), "adjustment to -1000");
        expect!(0, number(c"/proc/self/oom_score"), "oom_score of who is never chosen");
        0
    });
    young.expect(End::Exit(0), format_args!("who adjusts itself"));
    expect!(0, number(OWN), "the adjustment of who did not change it");
}
