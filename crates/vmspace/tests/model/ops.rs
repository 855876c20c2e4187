//! Operations as plain values: made from a seed, replayed, and dropped one by one to shrink.
//!
//! No operation depends on what an earlier one answered, so any subsequence can be run. Addresses
//! cluster around the bounds of tables of every level, where ranges straddle two and three levels,
//! and around the places that Linux treats specially.

#![allow(dead_code)] // each test crate uses its own part

use super::linux::{ADVICE, Access, Arch, EXECUTE, Flags, READ, Remap, WRITE};
use vmspace::format::Geometry;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What is done, in bytes.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Map {
        address: u64,
        length: u64,
        prot: u8,
        flags: Flags,
    },
    MapFile {
        file: usize,
        offset: u64,
        address: u64,
        length: u64,
        prot: u8,
        flags: Flags,
    },
    Unmap {
        address: u64,
        length: u64,
    },
    Protect {
        address: u64,
        length: u64,
        prot: u8,
    },
    DontNeed {
        address: u64,
        length: u64,
    },
    Remap(Remap),
    Advise {
        address: u64,
        length: u64,
        advice: u8,
    },
    Populate {
        address: u64,
        length: u64,
        write: bool,
    },
    Residency {
        address: u64,
        pages: u64,
    },
    /// mlock2; `flags` 0: munlock.
    Lock {
        address: u64,
        length: u64,
        flags: u8,
    },
    /// mlockall; munlockall when nothing is set.
    LockAll {
        current: bool,
        future: bool,
        on_fault: bool,
    },
    Seal {
        address: u64,
        length: u64,
    },
    /// To so many bytes above (or below) the heap's start.
    Break {
        to: i64,
    },
    Fault {
        address: u64,
        access: Access,
    },
    Write {
        address: u64,
        length: usize,
        seed: u8,
    },
    Read {
        address: u64,
        length: usize,
    },
    ReadFile {
        file: usize,
        offset: u64,
        length: usize,
    },
    WriteFile {
        file: usize,
        offset: u64,
        length: usize,
        seed: u8,
    },
    SetLength {
        file: usize,
        bytes: u64,
    },
    Sync {
        file: usize,
        start: u64,
        end: u64,
    },
    /// The caller of fork goes on, and a copy of it too.
    Fork,
    Exit,
}

/// How many files there are, and shared memory that is read and written as they are.
pub const FILES: usize = 2;
pub const OBJECTS: usize = FILES + 1;

/// How long they are at the most, in pages.
const FILE_PAGES: u64 = 40;

/// The space that was made last: where forks go deep.
pub const LAST: usize = usize::MAX;

/// An operation of the `who`-th space alive (modulo their number), or of the [`LAST`].
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub who: usize,
    pub what: What,
}

/// What tables of two levels span, or of one where there are no three.
fn middle<F: Geometry>() -> u64 {
    F::slot_pages(F::ROOT_LEVEL.min(2))
}

/// Where the heap begins, in pages: a little below a bound of tables of two levels.
pub fn heap<F: Geometry>() -> u64 {
    middle::<F>() - 3
}

/// Makes operations around a few places.
pub struct Maker {
    random: Random,
    arch: Arch,
    places: Vec<u64>,
    /// What a leaf table spans.
    leaf: u64,
    made: usize,
}

/// A sequence begins with so many mappings, so that there is something to work on.
const BEGINNING: usize = 8;

impl Maker {
    pub fn new<F: Geometry>(seed: u64, arch: Arch) -> Maker {
        let mut random = Random(seed);
        let leaf = F::table_pages(0);
        let middle = middle::<F>();
        // The heap, two tables of one level, two of two, two under the root, and the map base.
        let mut all = vec![heap::<F>(), 5 * leaf, 2 * middle, arch.map_base];
        all.push(if F::LEVELS > 3 { F::table_pages(2) } else { 3 * middle });
        all.push(65_536 >> F::PAGE_SHIFT);
        all.push(arch.user_pages);
        let n = 2 + random.below(3) as usize;
        let places = (0..n).map(|_| random.pick(&all)).collect();
        Maker { random, arch, places, leaf, made: 0 }
    }

    pub fn op(&mut self) -> Op {
        self.made += 1;
        let who = if self.random.one_in(2) { LAST } else { self.random.next() as usize };
        Op { who, what: self.what() }
    }

    fn what(&mut self) -> What {
        if self.made <= OBJECTS {
            return What::SetLength { file: self.made - 1, bytes: self.offset() };
        }
        if self.made <= BEGINNING {
            return self.map();
        }
        if self.random.one_in(5) {
            return self.about_files();
        }
        if self.random.one_in(40) {
            return self.nonsense();
        }
        if self.random.one_in(8) {
            return self.about();
        }
        match self.random.below(100) {
            0..20 => self.map(),
            20..28 => self.remap(),
            28..33 => {
                let (address, length) = self.range();
                What::Unmap { address, length }
            }
            33..47 => {
                let (address, length) = self.range();
                What::Protect { address, length, prot: self.prot() }
            }
            47..54 => {
                let (address, length) = self.range();
                What::DontNeed { address, length }
            }
            54..59 => {
                let pages = self.random.below(24) as i64 - 1;
                What::Break { to: (pages << self.arch.page_shift) + self.random.below(3) as i64 }
            }
            59..73 => {
                let access = self.random.pick(&[Access::Read, Access::Write, Access::Execute]);
                What::Fault { address: self.address(), access }
            }
            73..87 => {
                let (address, length) = (self.address(), 1 + self.random.below(20) as usize);
                What::Write { address, length, seed: self.random.next() as u8 }
            }
            87..94 => {
                What::Read { address: self.address(), length: 1 + self.random.below(40) as usize }
            }
            94..97 => What::Fork,
            _ => What::Exit,
        }
    }

    fn map(&mut self) -> What {
        let (address, length, prot, flags) = self.mapping();
        What::Map { address, length, prot, flags }
    }

    fn mapping(&mut self) -> (u64, u64, u8, Flags) {
        let (address, length) = self.range();
        let prot = self.prot();
        let huge = length >> self.arch.page_shift > self.arch.memory;
        let mut flags = Flags {
            shared: self.random.one_in(4),
            grows_down: self.random.one_in(8),
            // Seldom more than could be filled: that is refused.
            no_reserve: if huge { !self.random.one_in(4) } else { self.random.one_in(8) },
            locked: self.random.one_in(16),
            populate: length >> self.arch.page_shift <= 24 && self.random.one_in(8),
            ..Flags::default()
        };
        if huge && !flags.no_reserve {
            // Refused, if it is writable or shared, before anything of the place is looked at.
            return (0, length, prot | WRITE, flags);
        }
        let (address, fixed, no_replace) = match self.random.below(20) {
            0..3 => (0, false, false),
            3..6 => (address + self.random.below(3), false, false),
            6..9 => (address, self.random.one_in(2), true),
            _ => (address, true, false),
        };
        (flags.fixed, flags.no_replace) = (fixed, no_replace);
        (address, length, prot, flags)
    }

    /// A place in a file, often near a bound of pages.
    fn offset(&mut self) -> u64 {
        let page = self.random.below(FILE_PAGES) << self.arch.page_shift;
        match self.random.below(4) {
            0 => page,
            1 => (page + self.random.below(64)).saturating_sub(32),
            _ => page + self.random.below(1 << self.arch.page_shift),
        }
    }

    fn about_files(&mut self) -> What {
        let (file, offset) = (self.random.below(OBJECTS as u64) as usize, self.offset());
        match self.random.below(16) {
            0..5 => self.map_file(file),
            5..8 => What::ReadFile { file, offset, length: self.random.below(300) as usize },
            8..11 => {
                let (length, seed) = (self.random.below(300) as usize, self.random.next() as u8);
                What::WriteFile { file, offset, length, seed }
            }
            11..14 => What::SetLength { file, bytes: offset },
            _ => What::Sync { file, start: offset, end: self.offset() },
        }
    }

    /// Where anonymous memory would go, or over it; no stacks.
    fn map_file(&mut self, file: usize) -> What {
        let page = self.random.below(FILE_PAGES / 2);
        let offset = page << self.arch.page_shift | u64::from(self.random.one_in(16));
        let (address, length, prot, flags) = self.mapping();
        let length = length.min((FILE_PAGES + 8) << self.arch.page_shift);
        let flags = Flags { grows_down: false, shared: self.random.one_in(2), ..flags };
        What::MapFile { file, offset, address, length, prot, flags }
    }

    /// What maps and unmaps nothing.
    fn about(&mut self) -> What {
        let (address, length) = self.range();
        let short = length.min(24 << self.arch.page_shift);
        let mut bit = |n| self.random.one_in(n);
        match (bit(2), bit(2), bit(3)) {
            (true, true, _) => What::Advise { address, length, advice: self.random.pick(&ADVICE) },
            (true, false, true) => What::Populate { address, length: short, write: bit(2) },
            (true, false, false) => What::Residency { address, pages: 40 },
            (false, true, _) => {
                let flags = self.random.pick(&[0, 1, 1, 3]);
                What::Lock { address: address + self.random.below(2), length: short, flags }
            }
            (false, false, true) => {
                What::LockAll { current: bit(3), future: bit(6), on_fault: bit(3) }
            }
            (false, false, false) if bit(4) => {
                What::Seal { address, length: length.min(3 << self.arch.page_shift) }
            }
            _ => What::Lock { address, length, flags: 0 },
        }
    }

    /// Half of them could move whole tables: source and destination lie at the same place of one.
    fn remap(&mut self) -> What {
        let shift = self.arch.page_shift;
        let ((address, old), page) = (self.range(), self.page());
        let table = (self.leaf << shift) - 1;
        let to = if self.random.one_in(2) {
            page << shift
        } else {
            page << shift & !table | address & table
        };
        let change = self.random.below(16) << shift;
        let new = match self.random.below(4) {
            0 => old + change,
            1 => old.saturating_sub(change).max(1),
            _ => old,
        };
        let (fixed, keep_source) = (self.random.one_in(2), self.random.one_in(4));
        let may_move = fixed || keep_source || !self.random.one_in(4);
        let old = if self.random.one_in(12) { 0 } else { old };
        let new = if keep_source { old } else { new };
        What::Remap(Remap { address, old, new, may_move, fixed, keep_source, to })
    }

    fn prot(&mut self) -> u8 {
        match self.random.below(10) {
            0 => 0,
            1 => READ,
            2 => EXECUTE,
            3 => self.random.below(8) as u8,
            _ => READ | WRITE,
        }
    }

    fn page(&mut self) -> u64 {
        let place = self.random.pick(&self.places);
        let near = match self.random.below(16) {
            0 => self.leaf + self.random.below(8),
            1 => self.random.below(600),
            _ => self.random.below(12),
        };
        let page = if self.random.one_in(2) { place.saturating_sub(near) } else { place + near };
        page.min(self.arch.user_pages + 2)
    }

    fn address(&mut self) -> u64 {
        let page = self.page() << self.arch.page_shift;
        // Near the end, so that what is copied straddles two pages.
        let offset = match self.random.below(4) {
            0 => (1 << self.arch.page_shift) - 1 - self.random.below(16),
            _ => self.random.below(64),
        };
        page + offset
    }

    /// Mostly a few pages, now and then a table or two, seldom many.
    fn range(&mut self) -> (u64, u64) {
        let mut page = self.page();
        let pages = match self.random.below(24) {
            0 => self.leaf + self.random.below(9) - 4,
            1 => 2 * self.leaf,
            3..5 => {
                page &= !(self.leaf - 1);
                self.leaf * (1 + self.random.below(2))
            }
            2 => self.leaf * (1 << self.random.below(11)) + self.random.below(5),
            _ => 1 + self.random.below(24),
        };
        let pages = if page < self.arch.user_pages && !self.random.one_in(8) {
            pages.min(self.arch.user_pages - page)
        } else {
            pages
        };
        let spill =
            if self.random.one_in(4) { self.random.below(1 << self.arch.page_shift) } else { 0 };
        (page << self.arch.page_shift, (pages << self.arch.page_shift) - spill)
    }

    /// Arguments that make no sense.
    fn nonsense(&mut self) -> What {
        let (address, length) = self.range();
        let address = self.random.pick(&[address, address + 1, !0, !0 << 16, 4096, 0]);
        let length = self.random.pick(&[length, 0, !0, !0 << 16, 1 << 63, 1 << 48]);
        match self.random.below(6) {
            5 => {
                let bit = |random: &mut Random| random.one_in(2);
                let (may_move, fixed) = (bit(&mut self.random), bit(&mut self.random));
                let (to, new) = (self.page() << self.arch.page_shift, length);
                let old = self.random.pick(&[length, 0, 4096, !0]);
                let keep_source = bit(&mut self.random);
                What::Remap(Remap { address, old, new, may_move, fixed, keep_source, to })
            }
            0 => What::Unmap { address, length },
            1 => What::Protect { address, length, prot: READ },
            2 => What::DontNeed { address, length },
            3 => What::Fault { address, access: Access::Write },
            _ => {
                let no_replace = self.random.one_in(2);
                let fixed = no_replace || self.random.one_in(2);
                let flags = Flags { fixed, no_replace, no_reserve: true, ..Flags::default() };
                What::Map { address, length, prot: READ, flags }
            }
        }
    }
}
