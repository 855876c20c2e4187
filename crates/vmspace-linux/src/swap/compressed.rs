//! A device that keeps pages compressed in the host's memory, as Linux's zram.
//!
//! Guarantee: its size is that of the pages that it takes, uncompressed; what it takes of the host's
//! memory is at most that, and a record of some hundred bytes for each page. A page of one word again
//! and again is kept in its record; one that compression does not make smaller is kept as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::slots::Slots;
use super::{Broken, Device};

/// The word that same-filled pages are looked through by.
const WORD: usize = 8;

/// A page as it is kept.
#[derive(Clone, Debug)]
enum Kept {
    /// The word that it is filled with.
    Filled([u8; WORD]),
    /// Its bytes, compressed; as many as the page has: as they are.
    Bytes(Arc<[u8]>),
}

/// What has been stored since the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compression {
    /// Pages.
    pub pages: u64,
    /// Those of them that were one word again and again.
    pub filled: u64,
    /// Those of them that could not be made smaller.
    pub whole: u64,
    /// Bytes that all of them took.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    pages: AtomicU64,
    filled: AtomicU64,
    whole: AtomicU64,
    bytes: AtomicU64,
}

/// The device.
#[derive(Debug)]
pub(super) struct Compressed {
    slots: Slots<Kept>,
    counts: Counts,
}

impl Compressed {
    pub fn new() -> Compressed {
        Compressed { slots: Slots::new(), counts: Counts::default() }
    }

    fn keep(&self, page: &[u8]) -> Kept {
        let counts = &self.counts;
        counts.pages.fetch_add(1, Ordering::Relaxed);
        if let Some(word) = filled_with(page) {
            counts.filled.fetch_add(1, Ordering::Relaxed);
            return Kept::Filled(word);
        }
        let mut packed = vec![0; get_maximum_output_size(page.len())];
        let bytes = match compress_into(page, &mut packed) {
            Ok(length) if length < page.len() => &packed[..length],
            _ => {
                counts.whole.fetch_add(1, Ordering::Relaxed);
                page
            }
        };
        counts.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Kept::Bytes(bytes.into())
    }
}

/// The word that a page is filled with, if it is.
fn filled_with(page: &[u8]) -> Option<[u8; WORD]> {
    let (first, rest) = page.as_chunks::<WORD>().0.split_first()?;
    rest.iter().all(|word| word == first).then_some(*first)
}

impl Device for Compressed {
    fn read(&self, slot: u64, page: &mut [u8]) -> Result<(), Broken> {
        match self.slots.get(slot).ok_or(Broken::Never)? {
            Kept::Filled(word) => page.as_chunks_mut().0.fill(word),
            Kept::Bytes(bytes) if bytes.len() == page.len() => page.copy_from_slice(&bytes),
            Kept::Bytes(bytes) => {
                let length = decompress_into(&bytes, page).map_err(|_| Broken::Changed)?;
                if length < page.len() {
                    return Err(Broken::Changed);
                }
            }
        }
        Ok(())
    }

    fn write(&self, slot: u64, page: &[u8]) -> Result<(), Broken> {
        self.slots.put(slot, self.keep(page));
        Ok(())
    }

    fn discard(&self, slot: u64) {
        self.slots.remove(slot);
    }

    fn usage(&self) -> (u64, u64) {
        self.slots.usage()
    }

    fn compression(&self) -> Option<Compression> {
        let Counts { pages, filled, whole, bytes } = &self.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (pages, filled) = (get(pages), get(filled));
        Some(Compression { pages, filled, whole: get(whole), bytes: get(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PAGE, noise, text};
    use super::*;

    fn back(device: &Compressed, slot: u64) -> Vec<u8> {
        let mut page = vec![0xee; PAGE];
        device.read(slot, &mut page).expect("it was written");
        page
    }

    #[test]
    fn a_page_would_come_back_as_another() {
        for length in [PAGE, 16 << 10, 64 << 10] {
            let device = Compressed::new();
            let mut odd = vec![0; length];
            odd[length - 1] = 1;
            let pages = [vec![0; length], vec![0xa5; length], odd, text(length), noise(7, length)];
            for (slot, page) in (0..).zip(&pages) {
                device.write(slot, page).expect("there is room");
            }
            for (slot, page) in (0..).zip(&pages) {
                let mut back = vec![0xee; length];
                device.read(slot, &mut back).expect("it was written");
                assert!(back == *page, "page {slot} of {length} bytes");
            }
            let counts = device.compression().expect("it compresses");
            assert_eq!((counts.pages, counts.filled, counts.whole), (5, 2, 1));
            let most = length as u64 * 3 / 2;
            assert!(counts.bytes > length as u64 && counts.bytes < most, "{counts:?}");
        }
    }

    #[test]
    fn a_page_of_a_word_takes_memory() {
        let device = Compressed::new();
        let word = 0x0123_4567_89ab_cdefu64.to_le_bytes();
        device.write(9, &word.repeat(PAGE / WORD)).expect("there is room");
        assert_eq!(device.compression().expect("it compresses").bytes, 0);
        assert_eq!(back(&device, 9), word.repeat(PAGE / WORD));
    }

    #[test]
    fn what_was_discarded_would_be_read_again() {
        let device = Compressed::new();
        device.write(1, &text(PAGE)).expect("there is room");
        device.discard(1);
        device.discard(2);
        assert!(matches!(device.read(1, &mut [0; PAGE]), Err(Broken::Never)));
        assert_eq!(device.usage(), (0, 1));
    }

    #[test]
    fn harts_that_swap_at_once_would_mix_their_pages() {
        let device = Compressed::new();
        std::thread::scope(|scope| {
            for hart in 0..4 {
                let device = &device;
                scope.spawn(move || {
                    for round in 0..20 {
                        for slot in (hart..256).step_by(4) {
                            device.write(slot, &noise(slot << 8 | round, PAGE)).expect("room");
                        }
                        for slot in (hart..256).step_by(4) {
                            assert!(back(device, slot) == noise(slot << 8 | round, PAGE));
                            if slot % 3 == 0 {
                                device.discard(slot);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(device.usage().0, 256 - (0..256).filter(|slot| slot % 3 == 0).count() as u64);
    }
}
