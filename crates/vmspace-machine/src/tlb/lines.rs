//! The inline arrays: for each identifier 1024 lines for reads, for writes and for fetches.
//!
//! Guarantee: a hit costs a few host instructions (index, compare, add), and a line is filled only
//! for the access whose rights were checked (and, for writes, only when dirty is set).
//!
//! Each identifier has arrays of its own, made when it is first used: a switch of space changes one
//! pointer, and programs at the same addresses do not push each other out. A tag is a page's
//! address, so an access that is not aligned has its low bits left in the comparison, and misses:
//! one compare tells both.

use super::ids::Id;
use std::marker::PhantomData;
use vmspace::Access;
use vmspace::format::{Format, Geometry};

/// Lines of one array.
const LINES: usize = 1024;

/// A tag that no access has: below a page's address are the bits of an alignment, and not all.
const INVALID: u64 = !0;

#[derive(Clone, Copy, Debug)]
struct Line {
    tag: u64,
    /// Host pointer to the page minus its virtual address.
    bias: *mut u8,
}

const EMPTY: Line = Line { tag: INVALID, bias: std::ptr::null_mut() };

/// The three arrays of one identifier.
#[derive(Debug)]
struct Arrays {
    lines: [[Line; LINES]; 3],
    /// The leaf level that each line came from; read only when dropping.
    levels: [[u8; LINES]; 3],
}

impl Arrays {
    fn new() -> Box<Arrays> {
        Box::new(Arrays { lines: [[EMPTY; LINES]; 3], levels: [[0; LINES]; 3] })
    }

    #[inline(always)]
    fn hit<F: Format>(&self, address: u64, access: Access, size: u64) -> Option<*mut u8> {
        let line = &self.lines[array_of(access)][index(address >> F::PAGE_SHIFT)];
        (line.tag == address & (!(F::PAGE_SIZE - 1) | (size - 1)))
            .then(|| line.bias.wrapping_add(address as usize))
    }

    fn clear(&mut self) {
        self.lines.as_flattened_mut().fill(EMPTY);
    }
}

/// The arrays of all identifiers, those of the loaded one at hand.
#[derive(Debug)]
pub struct Lines<F: Format> {
    /// What accesses look at: the arrays of `selected`, or empty ones while nobody is.
    current: Box<Arrays>,
    selected: Option<Id>,
    /// The arrays of the others, by identifier. In the place of `selected` are the empty ones.
    others: Vec<Option<Box<Arrays>>>,
    format: PhantomData<F>,
}

const fn array_of(access: Access) -> usize {
    match access {
        Access::Read => 0,
        Access::Write => 1,
        Access::Execute => 2,
    }
}

impl<F: Format> Lines<F> {
    /// Empty arrays for `ids` identifiers; nobody is loaded.
    pub fn new(ids: usize) -> Lines<F> {
        let others = (0..ids).map(|_| None).collect();
        Lines { current: Arrays::new(), selected: None, others, format: PhantomData }
    }

    /// Accesses are made under `id` from now on; under none, nothing hits.
    pub fn select(&mut self, id: Option<Id>) {
        for exchanged in [self.selected, id].into_iter().flatten() {
            let place = self.others[exchanged.index()].get_or_insert_with(Arrays::new);
            std::mem::swap(&mut self.current, place);
        }
        self.selected = id;
    }

    /// Where in host memory `address` is, if it is aligned to `size` and a line says so.
    #[inline(always)]
    pub fn hit(&self, address: u64, access: Access, size: u64) -> Option<*mut u8> {
        self.current.hit::<F>(address, access, size)
    }

    /// The same for what `id` has kept, whoever is selected.
    pub fn find(&self, id: Id, address: u64, access: Access) -> Option<*mut u8> {
        let arrays = match self.selected == Some(id) {
            true => &self.current,
            false => self.others[id.index()].as_ref()?,
        };
        arrays.hit::<F>(address, access, 1)
    }

    /// Fills the line of `page` under `id` for one kind of access; `host` is where the page is.
    pub fn fill(&mut self, id: Id, page: u64, access: Access, level: usize, host: *mut u8) {
        let Some(arrays) = self.arrays(id) else { return };
        let address = page << F::PAGE_SHIFT;
        let bias = host.wrapping_sub(address as usize);
        let (array, index) = (array_of(access), index(page));
        arrays.lines[array][index] = Line { tag: address, bias };
        arrays.levels[array][index] = level as u8;
    }

    /// Drops what came from leaves at `level` for pages `start..end` under `id`.
    pub fn drop_pages(&mut self, id: Id, start: u64, end: u64, level: usize) {
        let Some(arrays) = self.arrays(id) else { return };
        let only = index(start);
        let range = if end - start == 1 { only..only + 1 } else { 0..LINES };
        for (lines, levels) in arrays.lines.iter_mut().zip(&arrays.levels) {
            for i in range.clone() {
                let page = lines[i].tag >> F::PAGE_SHIFT;
                if (start..end).contains(&page) && usize::from(levels[i]) == level {
                    lines[i] = EMPTY;
                }
            }
        }
    }

    /// Empties every eighth line of `id`, from line `first`.
    pub fn evict(&mut self, id: Id, first: usize) {
        let Some(arrays) = self.arrays(id) else { return };
        for lines in &mut arrays.lines {
            lines.iter_mut().skip(first).step_by(8).for_each(|line| *line = EMPTY);
        }
    }

    /// Drops all lines of `id`.
    pub fn drop_id(&mut self, id: Id) {
        self.arrays(id).into_iter().for_each(Arrays::clear);
    }

    /// Drops all lines.
    pub fn drop_all(&mut self) {
        self.current.clear();
        self.others.iter_mut().flatten().for_each(|arrays| arrays.clear());
    }

    fn arrays(&mut self, id: Id) -> Option<&mut Arrays> {
        if self.selected == Some(id) {
            return Some(&mut self.current);
        }
        self.others[id.index()].as_deref_mut()
    }
}

#[inline(always)]
fn index(page: u64) -> usize {
    page as usize & (LINES - 1)
}
