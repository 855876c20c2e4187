//! Mapped memory that can be filled with a pattern and checked against it.
//!
//! A pattern's word is `tag << 40 | page << 16 | place`: a wrong one tells whose it is and where from.

use crate::syscall::{self, Errno, flag, prot, remap};
use crate::{expect, fail, page_size};
use core::fmt::Arguments;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Words that a pattern has in each page, evenly spread.
pub const SPREAD: usize = 32;

/// A range of whole pages. It is not unmapped when dropped: programs punch holes in it, and what
/// somebody else maps into a hole is not ours.
#[derive(Clone, Copy)]
pub struct Map {
    base: usize,
    pages: usize,
}

impl Map {
    /// Private anonymous memory, readable and writable.
    pub fn private(pages: usize) -> Map {
        Map::new(pages, prot::RW, flag::PRIVATE)
    }

    /// Anonymous memory that is shared with every child forked later.
    pub fn shared(pages: usize) -> Map {
        Map::new(pages, prot::RW, flag::SHARED)
    }

    /// Anonymous memory with the given rights and flags; the program ends where there is none.
    pub fn new(pages: usize, rights: usize, flags: usize) -> Map {
        Map::try_new(pages, rights, flags)
            .unwrap_or_else(|error| fail!("mmap of {pages} pages: {error}"))
    }

    /// Anonymous memory with the given rights and flags.
    pub fn try_new(pages: usize, rights: usize, flags: usize) -> Result<Map, Errno> {
        Ok(Map { base: syscall::mmap(0, pages * page_size(), rights, flags)?, pages })
    }

    /// Memory that a call has put there.
    pub fn at(base: usize, pages: usize) -> Map {
        Map { base, pages }
    }

    /// Where page `page` begins.
    pub fn address(&self, page: usize) -> usize {
        self.base + page * page_size()
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// How many words all pages have.
    pub fn all_words(&self) -> usize {
        self.pages * Map::words()
    }

    /// How many words a page has.
    pub fn words() -> usize {
        page_size() / 8
    }

    /// A word of a page. Where nothing is mapped, touching it kills: programs do that on purpose.
    pub fn word(&self, page: usize, word: usize) -> &'static AtomicU64 {
        assert!(page < self.pages && word < Map::words(), "a word outside the map");
        // SAFETY: aligned, within memory that was mapped for this type and is only accessed atomically;
        // a fault ends the process, so nothing is ever read that is not there.
        unsafe { &*((self.address(page) + word * 8) as *const AtomicU64) }
    }

    /// The words of all pages as one slice, for work that wants plain memory.
    ///
    /// # Safety
    /// All pages are mapped with the rights that are used, and no other reference to a word that is
    /// written lives at the same time: threads take disjoint parts.
    pub unsafe fn numbers(&self, part: Range<usize>) -> &'static mut [u64] {
        assert!(part.start <= part.end && part.end <= self.all_words(), "a part outside the map");
        let first = (self.base + part.start * 8) as *mut u64;
        // SAFETY: within the map; the caller answers for the rest.
        unsafe { core::slice::from_raw_parts_mut(first, part.len()) }
    }

    fn place(index: usize) -> usize {
        index * (Map::words() / SPREAD)
    }

    fn value(tag: u64, page: usize, index: usize) -> u64 {
        tag << 40 | (page as u64) << 16 | index as u64
    }

    /// Writes the pattern of `tag` (not 0, below 2^24) into the pages.
    pub fn fill(&self, pages: Range<usize>, tag: u64) {
        for page in pages {
            for index in 0..SPREAD {
                self.word(page, Map::place(index)).store(Map::value(tag, page, index), Relaxed);
            }
        }
    }

    /// Fails unless the pages hold the pattern of `tag`; 0 stands for zeros. Returns a checksum.
    pub fn check(&self, pages: Range<usize>, tag: u64, what: Arguments) -> u64 {
        let mut sum = 0u64;
        for page in pages {
            for index in 0..SPREAD {
                let expected = if tag == 0 { 0 } else { Map::value(tag, page, index) };
                let seen = self.word(page, Map::place(index)).load(Relaxed);
                expect!(expected, seen, "{what}: page {page}, word {}", Map::place(index));
                sum = sum.rotate_left(5).wrapping_add(seen);
            }
        }
        sum
    }

    /// Whose pattern a page holds, by one of its words: the tag, 0 for a zero; fails if the word is no
    /// pattern of this page.
    pub fn owner(&self, page: usize, index: usize, what: Arguments) -> u64 {
        let seen = self.word(page, Map::place(index)).load(Relaxed);
        let tag = seen >> 40;
        let expected = if tag == 0 { 0 } else { Map::value(tag, page, index) };
        expect!(expected, seen, "{what}: page {page}, word {}", Map::place(index));
        tag
    }

    /// mprotect.
    pub fn protect(&self, pages: Range<usize>, rights: usize) {
        self.done(
            "mprotect",
            &pages,
            syscall::mprotect(self.address(pages.start), bytes(&pages), rights),
        );
    }

    /// madvise(MADV_DONTNEED): private pages read as zero afterwards.
    pub fn dontneed(&self, pages: Range<usize>) {
        let (at, len) = (self.address(pages.start), bytes(&pages));
        self.done("madvise", &pages, syscall::madvise(at, len, syscall::DONTNEED));
    }

    /// mmap(MAP_FIXED) of new private memory over the pages.
    pub fn replace(&self, pages: Range<usize>) {
        let (at, len) = (self.address(pages.start), bytes(&pages));
        let got = syscall::mmap(at, len, prot::RW, flag::PRIVATE | flag::FIXED | flag::NORESERVE);
        expect!(Ok(at), got, "mmap(MAP_FIXED) of pages {pages:?}");
    }

    /// mremap, wherever there is room: the pages, with their contents. Behind them stays an empty
    /// mapping.
    pub fn move_away(&self) -> Map {
        let (length, flags) = (self.pages * page_size(), remap::MAYMOVE | remap::DONTUNMAP);
        match syscall::mremap(self.base, length, length, flags, 0) {
            Ok(base) => Map::at(base, self.pages),
            Err(error) => fail!("mremap of {} pages: {error}", self.pages),
        }
    }

    /// munmap.
    pub fn unmap(&self, pages: Range<usize>) {
        self.done("munmap", &pages, syscall::munmap(self.address(pages.start), bytes(&pages)));
    }

    /// munmap of the whole.
    pub fn free(self) {
        self.unmap(0..self.pages);
    }

    fn done(&self, call: &str, pages: &Range<usize>, result: Result<(), Errno>) {
        if let Err(error) = result {
            fail!("{call} of pages {pages:?} of {}: {error}", self.pages);
        }
    }
}

fn bytes(pages: &Range<usize>) -> usize {
    pages.len() * page_size()
}
