//! The inline arrays: 1024 lines each for reads, writes and fetches.
//!
//! Guarantee: a hit costs a few host instructions (index, compare, add) and tells nothing else
//! apart: the tag is the page's address with the identifier in its low bits, and a line is filled
//! only for the access whose rights were checked (and, for writes, only when dirty is set).
//!
//! The identifier also salts the index, so that two programs at the same addresses do not push
//! each other out of direct-mapped lines.

use super::ids::Id;
use std::marker::PhantomData;
use vmspace::Access;
use vmspace::format::{Format, Geometry};

/// Lines of one array.
const LINES: usize = 1024;

/// A page's tag with the identifier in the low bits; pages have at least this many.
const ID_BITS: u32 = 12;

/// A tag that no access has: its identifier is given to nobody.
const INVALID: u64 = !0;

/// The key while no space is loaded: an identifier that no line is filled under.
const NOBODY: u64 = (1 << ID_BITS) - 2;

#[derive(Clone, Copy, Debug)]
struct Line {
    tag: u64,
    /// Host pointer to the page minus its virtual address.
    bias: *mut u8,
}

const EMPTY: Line = Line { tag: INVALID, bias: std::ptr::null_mut() };

/// The three arrays, and the identifier that accesses are made under.
#[derive(Debug)]
pub struct Lines<F: Format> {
    key: u64,
    salt: u64,
    arrays: Box<[[Line; LINES]; 3]>,
    /// The leaf level that each line came from; read only when dropping.
    levels: Box<[[u8; LINES]; 3]>,
    format: PhantomData<F>,
}

/// Spreads identifiers over the index.
const fn salt(key: u64) -> u64 {
    key.wrapping_mul(0x9e3)
}

const fn array_of(access: Access) -> usize {
    match access {
        Access::Read => 0,
        Access::Write => 1,
        Access::Execute => 2,
    }
}

impl<F: Format> Lines<F> {
    /// Empty arrays; nobody is loaded.
    pub fn new() -> Lines<F> {
        const { assert!(F::PAGE_SHIFT >= ID_BITS) };
        Lines {
            key: NOBODY,
            salt: 0,
            arrays: Box::new([[EMPTY; LINES]; 3]),
            levels: Box::new([[0; LINES]; 3]),
            format: PhantomData,
        }
    }

    /// Accesses are made under `id` from now on; under none, nothing hits.
    pub fn select(&mut self, id: Option<Id>) {
        self.key = id.map_or(NOBODY, Id::key);
        self.salt = salt(self.key);
    }

    /// Where in host memory `address` is, if a line says so.
    #[inline(always)]
    pub fn hit(&self, address: u64, access: Access) -> Option<*mut u8> {
        let line = &self.arrays[array_of(access)][index(address >> F::PAGE_SHIFT, self.salt)];
        (line.tag == address & !(F::PAGE_SIZE - 1) | self.key)
            .then(|| line.bias.wrapping_add(address as usize))
    }

    /// Fills the line of `page` for one kind of access; `host` is where the page is.
    pub fn fill(&mut self, id: Id, page: u64, access: Access, level: usize, host: *mut u8) {
        let (array, index) = (array_of(access), index(page, salt(id.key())));
        let address = page << F::PAGE_SHIFT;
        let bias = host.wrapping_sub(address as usize);
        self.arrays[array][index] = Line { tag: address | id.key(), bias };
        self.levels[array][index] = level as u8;
    }

    /// Drops what came from leaves at `level` for pages `start..end` under `id`.
    pub fn drop_pages(&mut self, id: Id, start: u64, end: u64, level: usize) {
        let alone = end - start == 1;
        for array in 0..self.arrays.len() {
            let only = index(start, salt(id.key()));
            let range = if alone { only..only + 1 } else { 0..LINES };
            for i in range {
                let line = &mut self.arrays[array][i];
                let page = line.tag >> F::PAGE_SHIFT;
                if line.tag & (F::PAGE_SIZE - 1) == id.key()
                    && (start..end).contains(&page)
                    && usize::from(self.levels[array][i]) == level
                {
                    *line = EMPTY;
                }
            }
        }
    }

    /// Drops all lines of `id`.
    pub fn drop_id(&mut self, id: Id) {
        for line in self.arrays.as_flattened_mut() {
            if line.tag & (F::PAGE_SIZE - 1) == id.key() {
                *line = EMPTY;
            }
        }
    }

    /// Drops all lines.
    pub fn drop_all(&mut self) {
        self.arrays.as_flattened_mut().fill(EMPTY);
    }
}

impl<F: Format> Default for Lines<F> {
    fn default() -> Lines<F> {
        Lines::new()
    }
}

#[inline(always)]
fn index(page: u64, salt: u64) -> usize {
    (page ^ salt) as usize & (LINES - 1)
}
