//! Where an entry lies: an atomic word, or two, as wide as the format's entries.
//!
//! Guarantee: whoever reads a cell gets a word that stood in it, and what hardware sets in it
//! (accessed, dirty) is never written over. Words are 64 bits for whoever handles them; a format
//! says by type how they lie in a table ([`Format::Cell`](crate::format::Format::Cell)).
//!
//! [`AtomicU64`] and [`AtomicU32`] are one atomic word. [`SplitCell`] is for targets whose atomic
//! word is narrower than the entry (R26); it needs what the library does anyway: who changes more
//! than accessed and dirty holds the lock of the cell's table.
//!
//! Protocol of a split cell. The low half holds what makes the entry present, accessed and dirty,
//! so hardware writes there alone, and so does who changes nothing in the high half. Else the low
//! half is zero (empty) before the high half changes, and is written after it. A reader takes the
//! low half, then the high one, then the low one again, until the low ones are equal. He would
//! still be wrong if in between the cell had become a second word and then a third with the low
//! half of the first. Who answers shootdowns cannot meet that: between two present words the
//! library waits for an answer. Others may, who hold a guard alone.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

mod sealed {
    pub trait Sealed {}
}

/// How an entry is stored. There is no store: a cell that others can reach changes by exchange.
pub trait Cell: sealed::Sealed + Send + Sync + Sized + 'static {
    /// Bytes that it takes in a table.
    const BYTES: usize;

    /// The atomic words that it is made of.
    const WORDS: usize = 1;

    /// A cell that holds `word`.
    fn new(word: u64) -> Self;

    /// The word that stands in it.
    fn load(&self, order: Ordering) -> u64;

    /// Fills a cell that nobody else can reach.
    fn fill(&self, word: u64);

    /// Changes it from `old` to `new`; the word found instead, when it is not `old`. Acquires what
    /// it finds and releases what it writes.
    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64>;

    /// Puts `new` there and returns what stood there; acquires and releases.
    fn swap(&self, new: u64) -> u64;

    /// Clears bits that hardware sets and returns what stood there.
    fn clear(&self, bits: u64) -> u64;
}

macro_rules! whole {
    ($cell:ident, $word:ty) => {
        impl sealed::Sealed for $cell {}

        impl Cell for $cell {
            const BYTES: usize = size_of::<$word>();

            #[inline(always)]
            fn new(word: u64) -> Self {
                $cell::new(word as $word)
            }

            #[inline(always)]
            fn load(&self, order: Ordering) -> u64 {
                self.load(order) as u64
            }

            #[inline(always)]
            fn fill(&self, word: u64) {
                self.store(word as $word, Ordering::Relaxed);
            }

            #[inline(always)]
            fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
                let (old, new) = (old as $word, new as $word);
                // Release: whoever walks to what the entry names (Acquire on the walk) sees it
                // filled.
                self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
                    .map(|_| ())
                    .map_err(|found| found as u64)
            }

            #[inline(always)]
            fn swap(&self, new: u64) -> u64 {
                // Release publishes a table or frame; Acquire sees the dirty bit's writer.
                self.swap(new as $word, Ordering::AcqRel) as u64
            }

            #[inline(always)]
            fn clear(&self, bits: u64) -> u64 {
                self.fetch_and(!(bits as $word), Ordering::Relaxed) as u64
            }
        }
    };
}

whole!(AtomicU64, u64);
whole!(AtomicU32, u32);

/// An entry of 64 bits as two words of 32, the low one first.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(8)))]
pub struct SplitCell {
    low: AtomicU32,
    high: AtomicU32,
}

const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

const fn both(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

impl SplitCell {
    /// Writes the halves of `new` into a cell whose low half is zero.
    fn refill(&self, new: u64) {
        // Release: pairs with the reader's Acquire of this half, who then sees the low half zero,
        // or what follows.
        self.high.store(high(new), Ordering::Release);
        // Release: pairs with the reader's Acquire; the high half, and what the entry names, are
        // seen.
        // A swap and no store: a stealer may be clearing accessed in this half.
        self.low.swap(low(new), Ordering::Release);
    }
}

impl sealed::Sealed for SplitCell {}

impl Cell for SplitCell {
    const BYTES: usize = 8;
    const WORDS: usize = 2;

    fn new(word: u64) -> Self {
        SplitCell { low: AtomicU32::new(low(word)), high: AtomicU32::new(high(word)) }
    }

    #[inline]
    fn load(&self, _: Ordering) -> u64 {
        // Acquire, both: pair with `refill`.
        let mut low = self.low.load(Ordering::Acquire);
        while low != 0 {
            let high = self.high.load(Ordering::Acquire);
            let again = self.low.load(Ordering::Acquire);
            if low == again {
                return both(low, high);
            }
            low = again;
        }
        0
    }

    fn fill(&self, word: u64) {
        self.high.store(high(word), Ordering::Relaxed);
        self.low.store(low(word), Ordering::Relaxed);
    }

    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        // The high half changes under the lock alone. Who sets accessed or dirty without it may
        // meet another entry with the same low half, which grants the access as well.
        let same = high(old) == high(new);
        let between = if same { low(new) } else { 0 };
        let (done, failed) = (Ordering::AcqRel, Ordering::Acquire);
        if self.high.load(Ordering::Acquire) != high(old)
            || self.low.compare_exchange(low(old), between, done, failed).is_err()
        {
            return Err(self.load(Ordering::Acquire));
        }
        if !same {
            self.refill(new);
        }
        Ok(())
    }

    fn swap(&self, new: u64) -> u64 {
        let low = self.low.swap(0, Ordering::AcqRel);
        // The lock is held: only its holder changes the high half.
        let old = both(low, self.high.load(Ordering::Relaxed));
        self.refill(new);
        old
    }

    fn clear(&self, bits: u64) -> u64 {
        let low = self.low.fetch_and(!low(bits), Ordering::Relaxed);
        both(low, self.high.load(Ordering::Relaxed))
    }
}
