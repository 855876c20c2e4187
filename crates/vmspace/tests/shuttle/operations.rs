//! What threads do to one small space at once, and what each of them must see of it.
//!
//! The space is two leaf tables, all mapped; what is looked at are two pages on either side of the
//! bound between them, of which the last is shared memory. In each page every thread has a word of
//! its own, which nobody else stores to: so it knows what it must find there. Its values look like
//! entries that name frames which nobody has, so that a table reused too early leads a walk astray.

use crate::machine::{CPUS, Machine, PAGE, be_cpu};
use std::array;
use vmspace::format::{Format, Leaf, Rights, Sv48};
use vmspace::{Access, Advice, Error, FaultError, Frame, Map, MaySleep, Object, Remap, Space};

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
/// Where each thread moves things to: a table of its own.
const AWAY: u64 = BOUND + 8 * LEAF;
/// The swap device, and its slots.
const SWAP: u64 = 1;
const SLOTS: u64 = 16;
/// The frame that values name first.
const NOBODYS: u64 = 1 << 40;

/// What an operation does that others notice.
#[derive(Clone, Copy, Default)]
struct Effects {
    /// A page may lose its contents.
    takes: bool,
    /// A page may be unmapped, for a while at least.
    hides: bool,
    /// A page may be mapped anew.
    replaces: bool,
    /// A page may go away and come back.
    moves: bool,
    /// A page may be read-only for a while.
    forbids: bool,
    /// The shared memory may end before its page.
    cuts: bool,
    /// A page may be on swap.
    steals: bool,
    /// A page may be locked.
    locks: bool,
}

impl Effects {
    const NONE: Effects = Effects {
        takes: false,
        hides: false,
        replaces: false,
        moves: false,
        forbids: false,
        cuts: false,
        steals: false,
        locks: false,
    };
    const FORBIDS: Effects = Effects { forbids: true, ..Effects::NONE };
    const TAKES: Effects = Effects { takes: true, ..Effects::NONE };
    const UNMAPS: Effects = Effects { hides: true, ..Effects::TAKES };
    const REPLACES: Effects = Effects { replaces: true, ..Effects::TAKES };
    const MOVES: Effects = Effects { hides: true, moves: true, ..Effects::NONE };
    const LOCKS: Effects = Effects { locks: true, ..Effects::NONE };
    const STEALS: Effects = Effects { steals: true, ..Effects::NONE };
    const CUTS: Effects = Effects { cuts: true, ..Effects::TAKES };

    fn and(self, other: Effects) -> Effects {
        Effects {
            takes: self.takes | other.takes,
            hides: self.hides | other.hides,
            replaces: self.replaces | other.replaces,
            moves: self.moves | other.moves,
            forbids: self.forbids | other.forbids,
            cuts: self.cuts | other.cuts,
            steals: self.steals | other.steals,
            locks: self.locks | other.locks,
        }
    }

    /// Whether a page may be mapped where none was.
    fn map(self) -> bool {
        self.replaces | self.moves
    }
}

/// One of the things done at once.
pub struct Operation {
    pub name: &'static str,
    effects: Effects,
    run: fn(&mut Thread<'_, '_>),
}

const fn operation(
    name: &'static str,
    effects: Effects,
    run: fn(&mut Thread<'_, '_>),
) -> Operation {
    Operation { name, effects, run }
}

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    operation("fault", Effects::NONE, |t| t.touch_all()),
    operation("translate", Effects::NONE, |t| t.translate()),
    operation("pin", Effects::NONE, |t| t.pin()),
    operation("fork", Effects::NONE, |t| t.fork()),
    operation("protect", Effects::FORBIDS, |t| t.protect(MOST)),
    operation("dont_need", Effects::TAKES, |t| t.dont_need(MOST)),
    operation("unmap", Effects::UNMAPS, |t| t.unmap(MOST)),
    operation("unmap_table", Effects::UNMAPS, |t| t.unmap(TABLE)),
    operation("map", Effects::REPLACES, |t| t.map(MOST)),
    operation("map_table", Effects::REPLACES, |t| t.map(TABLE)),
    operation("remap", Effects::MOVES, |t| t.remap((PAGES[2], PAGE))),
    operation("remap_table", Effects::MOVES, |t| t.remap((BOUND - LEAF, LEAF))),
    operation("truncate", Effects::CUTS, |t| t.truncate()),
    operation("steal", Effects::STEALS, |t| t.steal()),
    operation("page_out", Effects::STEALS, |t| t.page_out()),
    operation("swapoff", Effects::STEALS, |t| t.swap_off()),
    operation("mlock", Effects::LOCKS, |t| t.mlock(MOST)),
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
    ["fault", "remap", "fork"],
    ["fault", "remap_table", "protect"],
    ["fault", "truncate", "fork"],
    ["remap", "unmap_table", "translate"],
    ["pin", "fork", "fault"],
    ["steal", "fork", "fault"],
    ["steal", "fork", "swapoff"],
    ["steal", "page_out", "fault"],
    ["steal", "mlock", "fork"],
    ["steal", "truncate", "fault"],
    ["steal", "remap_table", "fork"],
    ["steal", "pin", "fork"],
    ["steal", "pin", "fault"],
    ["page_out", "swapoff", "unmap_table"],
    ["steal", "page_out", "swapoff"],
];

/// The operation of that name.
pub fn find(name: &str) -> &'static Operation {
    OPERATIONS.iter().find(|o| o.name == name).expect("the name of an operation")
}

/// Maps what all operations are about; the shared memory.
pub fn prepare<'vm>(space: &Space<'vm, Machine>, ms: &mut MaySleep) -> Object<'vm, Machine> {
    space.vm().swap_on(ms, SWAP, SLOTS, 0).unwrap();
    let map = Map::anonymous(2 * LEAF, RW).at(BOUND - LEAF);
    space.map(ms, Map { no_reserve: true, ..map }).unwrap();
    let shared = space.vm().object(ms, PAGE, 0).unwrap();
    let map = Map::anonymous(PAGE, RW).shared().at(PAGES[SHARED]);
    space.map_object(ms, map, &shared, 0).unwrap();
    shared
}

/// Where threads do it.
#[derive(Clone, Copy)]
pub struct Scene<'a, 'vm> {
    pub space: &'a Space<'vm, Machine>,
    pub shared: &'a Object<'vm, Machine>,
    /// What they do, by CPU.
    pub operations: &'a [&'static Operation],
}

/// A thread, on a CPU of its own.
pub struct Thread<'a, 'vm> {
    scene: Scene<'a, 'vm>,
    space: &'a Space<'vm, Machine>,
    ms: &'a mut MaySleep,
    cpu: usize,
    /// What may be done meanwhile, by this thread or another.
    any: Effects,
    /// What others may do meanwhile.
    others: Effects,
    known: Known,
}

/// What a thread knows of its words.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// What they hold, by page, unless they were taken meanwhile.
    words: [u64; 4],
    stores: u64,
}

impl<'a, 'vm> Thread<'a, 'vm> {
    pub fn new(scene: Scene<'a, 'vm>, ms: &'a mut MaySleep, cpu: usize) -> Thread<'a, 'vm> {
        be_cpu(cpu);
        let all = scene.operations.iter().enumerate();
        let others = all.filter(|(other, _)| *other != cpu).map(|(_, operation)| operation.effects);
        let others = others.fold(Effects::default(), Effects::and);
        let any = others.and(scene.operations[cpu].effects);
        Thread { scene, space: scene.space, ms, cpu, any, others, known: Known::default() }
    }

    /// Runs user code, the operation, and user code again. What the thread then knows.
    pub fn run(mut self) -> Known {
        self.store(1);
        self.store(2);
        self.load(SHARED);
        (self.scene.operations[self.cpu].run)(&mut self);
        self.touch_all();
        self.known
    }

    /// Nobody else runs any more: the thread's words are what it knows.
    pub fn finish(mut self, known: Known) {
        self.known = known;
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
                Err(FaultError::NotMapped) if self.any.hides => return None,
                Err(FaultError::NoPage) if self.any.cuts => return None,
                Err(FaultError::Denied) if self.any.forbids && store.is_some() => return None,
                Err(error) => panic!("{at:#x}, {access:?}: {error:?}"),
            }
        }
    }

    /// What the thread stores the `n`-th time.
    fn value(&self, n: u64) -> u64 {
        let frame = Frame(NOBODYS | (self.cpu as u64) << 16 | n);
        Sv48::leaf(0, Leaf { frame, rights: RW, accessed: true, dirty: true })
    }

    fn store(&mut self, n: usize) {
        self.known.stores += 1;
        let value = self.value(self.known.stores);
        if let Some(before) = self.user(self.space, Self::at(n, self.cpu), Some(value)) {
            self.know(n, before);
            self.known.words[n] = value;
            self.assert_dirty(n);
        }
    }

    /// The shared page, just stored to, is dirty: nobody has cleaned it.
    fn assert_dirty(&mut self, n: usize) {
        if n == SHARED && !self.any.takes && !self.any.hides && !self.any.steals {
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

    /// The thread's word in page `n` was seen to be `value`. One that was taken stays so; a page
    /// that was away while another was mapped in its place comes back with what it had.
    fn know(&mut self, n: usize, value: u64) {
        let known = self.known.words[n];
        let taken = self.any.takes && value == 0;
        let comes_back = self.any.moves && self.any.replaces;
        let earlier = comes_back && (1..=self.known.stores).any(|n| self.value(n) == value);
        let right = value == known || taken || earlier;
        assert!(right, "page {n} of thread {}: {value:#x}, not {known:#x}", self.cpu);
        self.known.words[n] = value;
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
            let may_go = self.any.takes || self.any.hides;
            let away = may_go || self.any.steals;
            let lost = found.is_none() && self.known.words[n] != 0 && !away;
            assert!(!lost, "page {n} of thread {} is gone", self.cpu);
            let mut word = [0; 8];
            if self.space.read(self.ms, Self::at(n, self.cpu), &mut word) == 8 {
                self.know(n, u64::from_le_bytes(word));
            } else {
                assert!(may_go, "page {n} is gone");
            }
        }
        let mut end = BOUND - LEAF;
        self.space.for_each_region(self.ms, |region| {
            assert!(end <= region.start && region.start < region.end, "{region:?} after {end:#x}");
            end = region.end;
        });
    }

    /// A device stores to pages that are held, twice to the one that a fork writes: what the space
    /// finds there is what the device stored, or what it was before.
    fn pin(&mut self) {
        for n in [1, 1, 2, SHARED] {
            let guard = self.space.vm().walk(self.ms);
            let fast = self.space.pin_fast(&guard, PAGES[n], true);
            drop(guard);
            let Some(pinned) = fast.or_else(|| self.space.pin(self.ms, PAGES[n], true).ok()) else {
                let refused = self.any.hides || self.any.cuts || self.any.forbids;
                assert!(refused, "page {n} cannot be held");
                continue;
            };
            self.known.stores += 1;
            let value = self.value(self.known.stores);
            let machine = self.space.vm().platform();
            let before = machine.store_by_frame(pinned.frame(), 8 * self.cpu as u64, value);
            self.know(n, before);
            self.known.words[n] = value;
            self.load(n);
        }
    }

    /// The child has the words as they were, whatever is stored in the parent later, and the other
    /// way round.
    fn fork(&mut self) {
        let child = self.space.fork(self.ms).unwrap();
        child.enter(self.cpu);
        let first = self.child_words(&child);
        for (n, words) in (1..3).zip(&first) {
            let (found, own) = (words[self.cpu], self.known.words[n]);
            let right = match found {
                None => self.any.hides,
                Some(word) => word == own || self.any.takes && word == 0,
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
            assert!(done.is_ok() || self.any.hides, "{done:?}");
        }
    }

    fn dont_need(&mut self, (at, length): (u64, u64)) {
        let done = self.space.advise(self.ms, at, length, Advice::DontNeed);
        assert!(done.is_ok() || self.any.hides || self.any.locks, "{done:?}");
    }

    fn unmap(&mut self, (at, length): (u64, u64)) {
        self.space.unmap(self.ms, at, length).unwrap();
        self.assert_forgotten((at, length));
    }

    /// Nothing is mapped there, and nobody maps it meanwhile: no CPU remembers any of it.
    fn assert_forgotten(&self, (at, length): (u64, u64)) {
        if !self.others.map() {
            let stale = Machine::cached(self.space, at..at + length);
            assert!(stale.is_none(), "O1: the call has returned, but a CPU remembers {stale:?}");
        }
    }

    /// Moves it away and back.
    fn remap(&mut self, (at, length): (u64, u64)) {
        let away = AWAY + self.cpu as u64 * LEAF;
        if self.move_to(at, away, length) {
            self.assert_forgotten((at, length));
            assert!(self.move_to(away, at, length));
            self.assert_forgotten((away, length));
        }
    }

    /// False: part of it is not mapped.
    fn move_to(&mut self, from: u64, to: u64, length: u64) -> bool {
        let remap = Remap {
            address: from,
            old_length: length,
            new_length: length,
            may_move: true,
            fixed: true,
            new_address: to,
            ..Remap::default()
        };
        let moved = self.space.remap(self.ms, remap);
        assert!(moved == Ok(to) || self.others.hides || self.others.map(), "{moved:?}");
        moved.is_ok()
    }

    /// Cuts the shared memory's page off and lets it grow again.
    fn truncate(&mut self) {
        for length in [0, PAGE] {
            self.scene.shared.set_len(self.ms, length).unwrap();
        }
    }

    /// Memory is short.
    fn steal(&mut self) {
        self.space.vm().reclaim(self.ms, 8);
    }

    fn page_out(&mut self) {
        let (at, length) = (PAGES[0], 4 * PAGE);
        let done = self.space.advise(self.ms, at, length, Advice::PageOut);
        assert!(done.is_ok() || self.any.hides || self.any.locks, "{done:?}");
    }

    /// The device goes, and nothing is on it any more; then it comes back.
    fn swap_off(&mut self) {
        let vm = self.space.vm();
        match vm.swap_off(self.ms, SWAP, || Ok(())) {
            Ok(()) => vm.swap_on(self.ms, SWAP, SLOTS, 0).unwrap(),
            Err(error) => assert!(matches!(error, Error::Invalid | Error::InUse), "{error:?}"),
        }
    }

    /// What is locked is there, from when the call returns.
    fn mlock(&mut self, (at, length): (u64, u64)) {
        let locked = self.space.lock(self.ms, at, length, false);
        let refused = self.any.hides || self.any.cuts || self.any.forbids;
        assert!(locked.is_ok() || refused, "{locked:?}");
        if locked.is_ok() && !self.any.takes && !self.any.hides && !self.any.moves {
            let mut there = [0; 3];
            assert_eq!(self.space.residency(self.ms, at, &mut there), Ok(3));
            assert_eq!(there, [1; 3], "locked pages are gone");
        }
        let unlocked = self.space.unlock(self.ms, at, length);
        assert!(unlocked.is_ok() || self.any.hides, "{unlocked:?}");
    }

    fn map(&mut self, (at, length): (u64, u64)) {
        let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(at) };
        assert_eq!(self.space.map(self.ms, map), Ok(at));
    }
}
