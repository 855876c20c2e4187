//! What Linux's page cache does: files and shared memory, as bytes in the cache and bytes on disk.
//!
//! Written from read(2), write(2), ftruncate(2), msync(2) and mmap(2). Where Linux leaves the answer
//! to the file system, or to how much it reads ahead, it is the library's, as its documents have it.

use super::Page;
use std::collections::BTreeMap;
use std::ops::Range;

/// How many pages are brought behind one that follows another.
const AHEAD: u64 = 8;

/// A file, or shared memory, which has no disk.
struct Object {
    /// The pages in the cache.
    cached: BTreeMap<u64, Page>,
    disk: Option<BTreeMap<u64, Page>>,
    bytes: u64,
}

/// The objects of a machine.
pub struct Objects {
    page_shift: u32,
    all: Vec<Object>,
}

impl Objects {
    pub fn new(page_shift: u32) -> Objects {
        Objects { page_shift, all: Vec::new() }
    }

    fn page_size(&self) -> u64 {
        1 << self.page_shift
    }

    /// Shared memory of so many pages.
    pub fn add_memory(&mut self, pages: u64) -> usize {
        self.add(pages << self.page_shift, None)
    }

    /// An empty file.
    pub fn add_file(&mut self) -> usize {
        self.add(0, Some(BTreeMap::new()))
    }

    fn add(&mut self, bytes: u64, disk: Option<BTreeMap<u64, Page>>) -> usize {
        self.all.push(Object { cached: BTreeMap::new(), disk, bytes });
        self.all.len() - 1
    }

    pub fn len(&self, object: usize) -> u64 {
        self.all[object].bytes
    }

    pub fn resident(&self, object: usize) -> u64 {
        self.all[object].cached.len() as u64
    }

    pub fn is_cached(&self, object: usize, index: u64) -> bool {
        self.all[object].cached.contains_key(&index)
    }

    pub fn page(&self, object: usize, index: u64) -> Option<&Page> {
        self.all[object].cached.get(&index)
    }

    pub fn page_mut(&mut self, object: usize, index: u64) -> Option<&mut Page> {
        self.all[object].cached.get_mut(&index)
    }

    /// Brings a page in, and those after it if it follows one. False: it lies beyond the end.
    pub fn bring(&mut self, object: usize, index: u64) -> bool {
        let pages = self.len(object).div_ceil(self.page_size());
        if index >= pages {
            return false;
        }
        let object = &mut self.all[object];
        let Some(disk) = &object.disk else {
            object.cached.entry(index).or_default();
            return true;
        };
        let is_cached = |index: u64| object.cached.contains_key(&index);
        let follows = !is_cached(index) && index > 0 && is_cached(index - 1);
        let ahead = if follows { AHEAD } else { 0 };
        for index in index..pages.min(index + 1 + ahead) {
            let stored = || disk.get(&index).cloned().unwrap_or_default();
            object.cached.entry(index).or_insert_with(stored);
        }
        true
    }

    /// MADV_WILLNEED for these pages; what is no file has nothing to bring.
    pub fn will_need(&mut self, object: usize, pages: Range<u64>) {
        let end = self.len(object).div_ceil(self.page_size());
        let object = &mut self.all[object];
        for index in pages.start..pages.end.min(end) {
            let Some(disk) = &object.disk else { return };
            let stored = || disk.get(&index).cloned().unwrap_or_default();
            object.cached.entry(index).or_insert_with(stored);
        }
    }

    /// read(2).
    pub fn read(&mut self, object: usize, offset: u64, length: u64) -> Vec<u8> {
        let end = self.len(object).min(offset + length);
        let mut found = vec![0; end.saturating_sub(offset) as usize];
        for (at, byte) in (offset..).zip(&mut found) {
            let (index, within) = (at >> self.page_shift, at % self.page_size());
            // What was never touched of memory is not made by reading.
            if self.all[object].disk.is_some() && (at == offset || within == 0) {
                self.bring(object, index);
            }
            let page = self.page(object, index);
            *byte = page.and_then(|page| page.get(&within)).copied().unwrap_or(0);
        }
        found
    }

    /// write(2): to the disk at once, and to what is in the cache.
    pub fn write(&mut self, object: usize, offset: u64, from: &[u8]) {
        let end = offset + from.len() as u64;
        if end > self.len(object) {
            self.zero_tail(object);
        }
        let (shift, size) = (self.page_shift, self.page_size());
        let object = &mut self.all[object];
        for (at, byte) in (offset..).zip(from) {
            let (index, within) = (at >> shift, at % size);
            let cached = match &mut object.disk {
                None => Some(object.cached.entry(index).or_default()),
                Some(disk) => {
                    disk.entry(index).or_default().insert(within, *byte);
                    object.cached.get_mut(&index)
                }
            };
            cached.map(|page| page.insert(within, *byte));
        }
        object.bytes = object.bytes.max(end);
    }

    /// ftruncate(2). What mappings have beyond the end is theirs to drop.
    pub fn set_len(&mut self, object: usize, bytes: u64) {
        if bytes >= self.len(object) {
            self.zero_tail(object);
        }
        self.all[object].bytes = bytes;
        self.zero_tail(object);
        let pages = bytes.div_ceil(self.page_size());
        let object = &mut self.all[object];
        object.cached.retain(|index, _| *index < pages);
        let (shift, disk) = (self.page_shift, object.disk.iter_mut());
        disk.for_each(|disk| cut(disk, shift, bytes));
    }

    /// What was stored beyond the end in the last page does not become a part of the file.
    fn zero_tail(&mut self, object: usize) {
        let (bytes, size) = (self.len(object), self.page_size());
        if !bytes.is_multiple_of(size)
            && let Some(page) = self.page_mut(object, bytes >> size.trailing_zeros())
        {
            page.retain(|at, _| *at < bytes % size);
        }
    }

    /// msync(2), fsync(2) of a range of bytes. A page that is clean is on disk as it is.
    pub fn sync(&mut self, object: usize, start: u64, end: u64) {
        let pages = start >> self.page_shift..end.div_ceil(self.page_size());
        let (shift, object) = (self.page_shift, &mut self.all[object]);
        let Some(disk) = &mut object.disk else { return };
        for (index, page) in &object.cached {
            if pages.contains(index) {
                disk.insert(*index, page.clone());
            }
        }
        cut(disk, shift, object.bytes);
    }

    /// The bytes on disk.
    pub fn stored(&self, object: usize) -> Vec<u8> {
        let object = &self.all[object];
        let mut bytes = vec![0; object.bytes as usize];
        for (index, page) in object.disk.iter().flatten() {
            for (at, byte) in page {
                bytes[((index << self.page_shift) + at) as usize] = *byte;
            }
        }
        bytes
    }
}

/// Forgets what lies beyond so many bytes.
fn cut(disk: &mut BTreeMap<u64, Page>, page_shift: u32, bytes: u64) {
    for (index, page) in disk.iter_mut() {
        page.retain(|at, _| (index << page_shift) + at < bytes);
    }
}
