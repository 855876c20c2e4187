//! `forks [DEPTH [WIDTH [PAGES=16]]]`: a tree of processes that checks copy-on-write.
//!
//! Each process finds its parent's pattern, writes its own over half of the pages before it forks and
//! over the rest while its children live, and sees at the end that nobody else has written. Shared
//! pages are written by all and seen by all. Children report through their exit status.
#![no_std]
#![no_main]

use core::sync::atomic::Ordering::*;
use guests::process::{End, child};
use guests::sync::Turn;
use guests::{Args, Map, expect, println, process};

guests::main!(main);

/// The first child exits with this status, the next with one more.
const STATUS: usize = 10;

struct Tree {
    width: usize,
    private: Map,
    /// Page 0: a counter of processes, then a turn for each; page 1: a word for each, its own number.
    shared: Map,
}

fn main(args: Args) {
    let (depth, width) = (args.number(1, 3), args.number(2, 3).clamp(1, 100));
    let own = args.number(3, 16).max(4);
    let total = (0..=depth).map(|level| width.pow(level as u32)).sum::<usize>();
    // Children of process n are n * width + 1 to n * width + width, as in a heap.
    let pages = (total + 1).div_ceil(Map::words());
    let tree = Tree { width, private: Map::private(own), shared: Map::shared(2 * pages) };
    tree.private.fill(0..own, 1);
    tree.grow(0, depth);
    expect!(
        total as u64,
        tree.shared.word(0, 0).load(Acquire),
        "processes counted in shared memory"
    );
    for process in 0..total {
        let seen = tree.word(1, process).load(Acquire);
        expect!(process as u64 + 1, seen, "word of process {process} in shared memory");
    }
    println!("forks: {total} processes in a tree of depth {depth} and width {width}");
    println!("ok");
}

impl Tree {
    /// Word `index` of the first or the second half of the shared pages.
    fn word(&self, half: usize, index: usize) -> &'static core::sync::atomic::AtomicU64 {
        let pages = self.shared.pages() / 2;
        self.shared.word(half * pages + index / Map::words(), index % Map::words())
    }

    /// The life of process `me`, whose private pages hold the pattern of its parent.
    fn grow(&self, me: usize, depth: usize) {
        let all = self.private.pages();
        let (mine, parents) = (me as u64 + 2, if me == 0 { 1 } else { self.parent(me) as u64 + 2 });
        self.word(0, 0).fetch_add(1, AcqRel);
        self.word(1, me).store(me as u64 + 1, Release);
        self.inherited(me, parents);
        self.private.fill(0..all, mine);
        if depth > 0 {
            let children: [Option<process::Child>; 100] = core::array::from_fn(|nth| {
                (nth < self.width).then(|| self.plant(me * self.width + 1 + nth, nth, depth - 1))
            });
            // The children wait for their turn: what is written now is written beside their copies.
            self.private.fill(0..all, 0x80_0000 | mine);
            Turn::in_word(self.word(0, me + 1)).pass(1);
            for (nth, child) in children.into_iter().flatten().enumerate() {
                let status = End::Exit((STATUS + nth) as i32);
                child.expect(status, format_args!("child {nth} of process {me}"));
            }
            let what = format_args!("process {me}, after its children");
            self.private.check(0..all, 0x80_0000 | mine, what);
        } else {
            self.private.check(0..all, mine, format_args!("process {me}, a leaf"));
        }
    }

    fn plant(&self, me: usize, nth: usize, depth: usize) -> process::Child {
        child(|| {
            Turn::in_word(self.word(0, self.parent(me) + 1)).wait(1);
            self.grow(me, depth);
            (STATUS + nth) as i32
        })
    }

    fn parent(&self, me: usize) -> usize {
        (me - 1) / self.width
    }

    /// Half of the pages is read before it is written, the other half written first.
    fn inherited(&self, me: usize, parents: u64) {
        let what = format_args!("process {me}, its parent's pages");
        let all = self.private.pages();
        self.private.check(0..all / 2, parents, what);
        self.private.fill(all / 4..all / 2, 0x40_0000 | me as u64);
        self.private.check(0..all / 4, parents, what);
        self.private.check(all / 2..all, parents, what);
        self.private.check(all / 4..all / 2, 0x40_0000 | me as u64, format_args!("process {me}"));
    }
}
