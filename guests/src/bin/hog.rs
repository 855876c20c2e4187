//! `hog`: takes memory without end until Linux's out-of-memory killer ends it, beside processes that
//! must not suffer for it; what is chosen by oom_score_adj. Under qemu it would take the host's memory.
#![no_std]
#![no_main]

use guests::calls::{self, EINVAL, ERANGE, READ_WRITE};
use guests::process::{Child, End, child};
use guests::sync::Turn;
use guests::syscall::{Errno, flag, prot};
use guests::{Args, Map, expect, fail, page_size, pattern, println};

guests::main!(main);

const ROUNDS: usize = 3;

fn main(_: Args) {
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
    println!("ok");
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
