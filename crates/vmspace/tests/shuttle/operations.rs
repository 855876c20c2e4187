//! What threads do to one small space at once, and what each of them must see of it.
//!
//! The space is two leaf tables, all mapped; what is looked at are two pages on either side of the
//! bound between them, of which the last is shared memory. In each page every thread has a word of
//! its own, which nobody else stores to: so it knows what it must find there. Its values look like
//! entries that name frames which nobody has, so that a table reused too early leads a walk astray.

use crate::machine::{CPUS, Machine, PAGE, be_cpu};
use std::array;
use vmspace::format::{Format, Leaf, Rights, Sv48};
use vmspace::{Access, Advice, FaultError, Frame, Map, MaySleep, Remap, Space};

pub const RW: Rights = Rights::READ.union(Rights::WRITE);
/// The bytes of a leaf table.
const LEAF: u64 = PAGE * 512;
/// Where the second of the two begins.
const BOUND: u64 = (1 << 30) + 8 * LEAF;
/// The pages that are looked at, as their first addresses.
const PAGES: [u64; 4] = [BOUND - 2 * PAGE, BOUND - PAGE, BOUND, BOUND + PAGE];
/// The one that is shared memory: writable and clean once it was read.
const SHARED: usize = 3;
/// All but the first, as address and length.
const MOST: (u64, u64) = (PAGES[1], 3 * PAGE);
/// The second table.
const TABLE: (u64, u64) = (BOUND, LEAF);
/// How far above, at the least, a range goes that is moved: to the same places of a table's span.
const AWAY: u64 = 4 * LEAF;
/// The frame that values name first.
const NOBODYS: u64 = 1 << 40;

/// One of the things done at once.
pub struct Operation {
    pub name: &'static str,
    /// Whether a page may lose its contents, or its mapping, by it.
    takes: bool,
    /// Whether a page may be read-only for a while.
    forbids: bool,
    /// Whether a page may be mapped by it that was not.
    maps: bool,
    /// Whether a page may be elsewhere for a while.
    moves: bool,
    run: fn(&mut Thread<'_, '_>),
}

const fn operation(name: &'static str, run: fn(&mut Thread<'_, '_>)) -> Operation {
    Operation { name, takes: false, forbids: false, maps: false, moves: false, run }
}

impl Operation {
    const fn takes(self) -> Operation {
        Operation { takes: true, ..self }
    }

    const fn forbids(self) -> Operation {
        Operation { forbids: true, ..self }
    }

    const fn maps(self) -> Operation {
        Operation { takes: true, maps: true, ..self }
    }

    const fn moves(self) -> Operation {
        Operation { moves: true, ..self }
    }
}

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    operation("fault", |t| t.touch_all()),
    operation("translate", |t| t.translate()),
    operation("fork", |t| t.fork()),
    operation("protect", |t| t.protect(MOST)).forbids(),
    operation("dont_need", |t| t.dont_need(MOST)).takes(),
    operation("unmap", |t| t.unmap(MOST)).takes(),
    operation("unmap_table", |t| t.unmap(TABLE)).takes(),
    operation("map", |t| t.map(MOST)).maps(),
    operation("map_table", |t| t.map(TABLE)).maps(),
    operation("remap", |t| t.remap(MOST)).moves(),
    operation("remap_table", |t| t.remap(TABLE)).moves(),
];

/// Those that are looked at three at a time.
pub const TRIPLES: &[[&str; 3]] = &[
    ["fault", "fork", "unmap"],
    ["fault", "fork", "protect"],
    ["fault", "unmap_table", "map_table"],
    ["translate", "unmap_table", "fork"],
    ["fork", "fork", "fault"],
    ["protect", "protect", "unmap"],
    ["dont_need", "unmap_table", "fault"],
    ["remap_table", "fault", "fork"],
    ["remap", "remap_table", "fault"],
    ["remap_table", "unmap", "fault"],
];

/// The operation of that name.
pub fn find(name: &str) -> &'static Operation {
    OPERATIONS.iter().find(|o| o.name == name).expect("the name of an operation")
}

/// Maps what all operations are about.
pub fn prepare(space: &Space<'_, Machine>, ms: &mut MaySleep) {
    let map = Map::anonymous(2 * LEAF, RW).at(BOUND - LEAF);
    space.map(ms, Map { no_reserve: true, ..map }).unwrap();
    space.map(ms, Map::anonymous(PAGE, RW).shared().at(PAGES[SHARED])).unwrap();
}

/// A thread, on a CPU of its own.
pub struct Thread<'a, 'vm> {
    space: &'a Space<'vm, Machine>,
    ms: &'a mut MaySleep,
    cpu: usize,
    /// What others do meanwhile, or this thread itself.
    takes: bool,
    forbids: bool,
    maps: bool,
    /// How many of the operations move pages.
    movers: usize,
    /// What its words hold, by page, unless they were taken meanwhile.
    words: [u64; 4],
    stores: u64,
}

impl<'a, 'vm> Thread<'a, 'vm> {
    pub fn new(
        space: &'a Space<'vm, Machine>,
        ms: &'a mut MaySleep,
        cpu: usize,
        all: &[&Operation],
    ) -> Thread<'a, 'vm> {
        be_cpu(cpu);
        let any = |has: fn(&Operation) -> bool| all.iter().any(|o| has(o));
        let (takes, forbids, maps) = (any(|o| o.takes), any(|o| o.forbids), any(|o| o.maps));
        let movers = all.iter().filter(|o| o.moves).count();
        Thread { space, ms, cpu, takes, forbids, maps, movers, words: [0; 4], stores: 0 }
    }

    /// Whether a page may not be where it was.
    fn leaves(&self) -> bool {
        self.takes || self.movers > 0
    }

    /// Runs user code, the operation, and user code again. What the thread's words then hold.
    pub fn run(mut self, operation: &Operation) -> [u64; 4] {
        self.store(1);
        self.store(2);
        self.load(SHARED);
        (operation.run)(&mut self);
        self.touch_all();
        self.words
    }

    /// Nobody else runs any more: the thread's words hold that.
    pub fn finish(mut self, words: [u64; 4]) {
        self.words = words;
        (0..PAGES.len()).for_each(|n| self.load(n));
    }

    /// The address of a thread's word in page `n`.
    fn at(n: usize, cpu: usize) -> u64 {
        PAGES[n] + 8 * cpu as u64
    }

    /// User code of `space` on this CPU: the word, before the store if it is one. None: the signal
    /// that the program would get.
    fn user(&mut self, space: &Space<'_, Machine>, at: u64, store: Option<u64>) -> Option<u64> {
        let access = if store.is_some() { Access::Write } else { Access::Read };
        loop {
            if let Some(value) = Machine::instruction(space, at, store) {
                return Some(value);
            }
            match space.fault(self.ms, at, access) {
                Ok(()) => {}
                Err(FaultError::NotMapped) if self.leaves() => return None,
                Err(FaultError::Denied) if self.forbids && store.is_some() => return None,
                Err(error) => panic!("{at:#x}, {access:?}: {error:?}"),
            }
        }
    }

    fn store(&mut self, n: usize) {
        self.stores += 1;
        let frame = Frame(NOBODYS | (self.cpu as u64) << 16 | self.stores);
        let leaf = Leaf { frame, rights: RW, accessed: true, dirty: true };
        let value = Sv48::leaf(0, leaf);
        if let Some(before) = self.user(self.space, Self::at(n, self.cpu), Some(value)) {
            self.know(n, before);
            self.words[n] = value;
            self.assert_dirty(n);
        }
    }

    /// The shared page, just stored to, is dirty: nobody has cleaned it.
    fn assert_dirty(&mut self, n: usize) {
        if n == SHARED && !self.leaves() {
            let guard = self.space.vm().walk(self.ms);
            let dirty = self.space.translate(&guard, PAGES[n]).is_some_and(|t| t.dirty);
            assert!(dirty, "what thread {} stored is taken for clean", self.cpu);
        }
    }

    fn load(&mut self, n: usize) {
        if let Some(value) = self.user(self.space, Self::at(n, self.cpu), None) {
            self.know(n, value);
        }
    }

    /// The thread's word in page `n` was seen to be `value`. One that was taken stays so.
    fn know(&mut self, n: usize, value: u64) {
        let known = self.words[n];
        let right = value == known || self.takes && value == 0;
        assert!(right, "page {n} of thread {}: {value:#x}, not {known:#x}", self.cpu);
        self.words[n] = value;
    }

    fn touch_all(&mut self) {
        for n in [0, SHARED, 1, 2] {
            self.load(n);
            self.store(n);
        }
    }

    fn translate(&mut self) {
        for n in 0..PAGES.len() {
            let guard = self.space.vm().walk(self.ms);
            let found = self.space.translate(&guard, PAGES[n]);
            drop(guard);
            let foreign = found.filter(|t| self.space.vm().generation(t.frame).is_none());
            assert_eq!(foreign, None, "page {n}");
            let lost = found.is_none() && self.words[n] != 0 && !self.leaves();
            assert!(!lost, "page {n} of thread {} is gone", self.cpu);
            let mut word = [0; 8];
            if self.space.read(self.ms, Self::at(n, self.cpu), &mut word) == 8 {
                self.know(n, u64::from_le_bytes(word));
            } else {
                assert!(self.leaves(), "page {n} is gone");
            }
        }
        let (mut end, holes) = (BOUND - LEAF, self.leaves() || self.forbids);
        self.space.for_each_region(self.ms, |region| {
            assert!(end <= region.start && region.start < region.end, "{region:?} after {end:#x}");
            assert!(holes || end == region.start, "a hole at {end:#x}");
            end = region.end;
        });
        assert!(end <= BOUND + LEAF || self.movers > 0);
    }

    /// The child has the words as they were, whatever is stored in the parent later, and the other
    /// way round.
    fn fork(&mut self) {
        let child = self.space.fork(self.ms).unwrap();
        child.enter(self.cpu);
        let first = self.child_words(&child);
        for (n, words) in (1..3).zip(&first) {
            let (found, own) = (words[self.cpu], self.words[n]);
            let right = match found {
                Some(word) => word == own || self.takes && word == 0,
                None => self.leaves(),
            };
            assert!(right, "page {n} in the child: {found:x?}, not {own:#x}");
        }
        self.store(1);
        assert_eq!(self.child_words(&child), first, "the child's pages");
        self.user(&child, Self::at(1, self.cpu), Some(1));
        self.load(1);
        child.exit(self.ms);
    }

    /// What the child has of every thread's words in the middle pages.
    fn child_words(&mut self, child: &Space<'_, Machine>) -> [[Option<u64>; CPUS]; 2] {
        let mut word = |n, cpu| self.user(child, Self::at(n, cpu), None);
        [1, 2].map(|n| array::from_fn(|cpu| word(n, cpu)))
    }

    fn protect(&mut self, (at, length): (u64, u64)) {
        for rights in [Rights::READ, RW] {
            let done = self.space.protect(self.ms, at, length, rights);
            assert!(done.is_ok() || self.leaves(), "{done:?}");
        }
    }

    fn dont_need(&mut self, (at, length): (u64, u64)) {
        let done = self.space.advise(self.ms, at, length, Advice::DontNeed);
        assert!(done.is_ok() || self.leaves(), "{done:?}");
    }

    fn unmap(&mut self, (at, length): (u64, u64)) {
        self.space.unmap(self.ms, at, length).unwrap();
        self.assert_gone((at, length), 0);
    }

    /// No CPU remembers a range that was taken away, unless somebody has put something there since:
    /// more than so many that move.
    fn assert_gone(&self, (at, length): (u64, u64), movers: usize) {
        let gone = !self.maps && self.movers <= movers;
        let stale = gone.then(|| Machine::cached(self.space, at..at + length)).flatten();
        assert!(stale.is_none(), "O1: {at:#x} was taken away, but a CPU remembers {stale:?}");
    }

    /// Moves a range to a place of the thread's own, looks at its words there, and moves it back.
    fn remap(&mut self, (at, length): (u64, u64)) {
        let away = at + AWAY + 2 * LEAF * self.cpu as u64;
        let done = self.shift(at, away, length);
        assert!(done || self.takes || self.movers > 1);
        self.assert_gone((at, length), 1);
        for n in (0..PAGES.len()).filter(|n| (at..at + length).contains(&PAGES[*n])) {
            if let Some(word) = self.user(self.space, Self::at(n, self.cpu) - at + away, None) {
                self.know(n, word);
            }
        }
        let back = self.shift(away, at, length);
        assert!(back || !done || self.takes);
        self.assert_gone((away, length), 1);
    }

    fn shift(&mut self, address: u64, new_address: u64, length: u64) -> bool {
        let remap = Remap {
            address,
            old_length: length,
            new_length: length,
            may_move: true,
            fixed: true,
            keep_source: false,
            new_address,
        };
        self.space.remap(self.ms, remap).is_ok()
    }

    fn map(&mut self, (at, length): (u64, u64)) {
        let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(at) };
        assert_eq!(self.space.map(self.ms, map), Ok(at));
    }
}
