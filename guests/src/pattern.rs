//! Pages whose words follow from the page and a version: what swap has to give back.
//!
//! A page has 512 words of a pattern, evenly spread: all of a page of 4 KiB.
//! A page's sort goes round from version to version: words that do not compress, one word all over,
//! zeros, a word here and there. So devices see all sorts, and no page is twice of the same.

use crate::syscall::prot;
use crate::{Map, Rng, calls, expect, fail, page_size};
use core::fmt::Arguments;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

/// How many words a page's pattern has.
const WORDS: usize = 512;

/// Of these, how far apart those lie of a page that has few.
const FAR: usize = 61;

/// Where a word of the pattern lies.
fn place(index: usize) -> usize {
    index * (Map::words() / WORDS)
}

/// What a page's words are made from.
#[derive(Clone, Copy)]
struct Page {
    sort: u64,
    seed: u64,
}

impl Page {
    fn new(page: usize, version: u64) -> Page {
        let seed = (version << 32 | page as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Page { sort: (page as u64 + version) % 4, seed }
    }

    #[inline]
    fn word(self, index: usize) -> u64 {
        match self.sort {
            0 => {
                let mixed = (self.seed ^ index as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed ^ mixed >> 29
            }
            1 => self.seed,
            2 if index.is_multiple_of(FAR) => self.seed ^ index as u64,
            _ => 0,
        }
    }
}

/// Writes pages of a version; of `of` who write the same page each writes every `of`-th word, from his
/// `nth` on.
pub fn write(
    map: &Map,
    pages: impl Iterator<Item = usize>,
    version: u64,
    (nth, of): (usize, usize),
) {
    for page in pages {
        let words = Page::new(page, version);
        for index in (nth..WORDS).step_by(of) {
            map.word(page, place(index)).store(words.word(index), Relaxed);
        }
    }
}

/// Fails unless all words of the pages are those of the version.
pub fn check(map: &Map, pages: impl Iterator<Item = usize>, version: u64, what: Arguments) {
    pages.for_each(|page| check_page(map, page, page, version, what));
}

/// Fails unless page `at` of the map is page `page` of the version.
fn check_page(map: &Map, at: usize, page: usize, version: u64, what: Arguments) {
    let words = Page::new(page, version);
    for index in 0..WORDS {
        let seen = map.word(at, place(index)).load(Relaxed);
        if seen != words.word(index) {
            expect!(words.word(index), seen, "{what}: page {page}, word {}", place(index));
        }
    }
}

/// Fails unless the first pages of a file are those of the version, read by pread(2).
pub fn check_file(file: usize, pages: usize, version: u64, what: Arguments) {
    const PREAD64: usize = 67;
    let (buffer, size) = (Map::private(1), page_size());
    for page in 0..pages {
        let arguments = [file, buffer.address(0), size, page * size, 0, 0];
        expect!(Ok(size), calls::call(PREAD64, arguments), "{what}: pread of page {page}");
        check_page(&buffer, 0, page, version, what);
    }
    buffer.free();
}

/// A file's first pages, mapped for reading and writing; `flags` say whether they are shared.
pub fn mapped(file: usize, pages: usize, flags: usize) -> Map {
    match calls::map(file, pages * page_size(), prot::RW, flags, 0) {
        Ok(base) => Map::at(base, pages),
        Err(error) => fail!("mmap of {pages} pages of a file: {error}"),
    }
}

/// As many of the pages as there are, drawn from a seed: some come twice, others not at all.
pub fn drawn(pages: Range<usize>, seed: u64) -> impl Iterator<Item = usize> {
    let mut random = Rng::new(seed);
    let (first, count) = (pages.start, pages.len());
    pages.map(move |_| first + random.below(count))
}
