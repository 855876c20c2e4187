//! Frames and ranges of pages: plain numbers with a type.
//!
//! A [`Frame`] is a physical page's number, a *page* (`u64`, called `page` or `vpn` everywhere) is
//! a virtual page's number; both count base pages of the platform's format. Addresses in bytes
//! appear only at the edge of the library.

use core::ops::Range;

/// The number of a physical frame, in base pages of the format.
///
/// ```
/// use vmspace::Frame;
///
/// let frame = Frame(0x8_0000);
/// assert_eq!(frame.0 << 12, 0x8000_0000); // its address, in a format with pages of 4 KiB
/// assert_eq!(frame.add(2), Frame(0x8_0002));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Frame(pub u64);

impl Frame {
    /// The frame `n` places further.
    pub const fn add(self, n: u64) -> Frame {
        Frame(self.0 + n)
    }
}

/// A half-open range of virtual page numbers.
///
/// ```
/// use vmspace::PageRange;
///
/// let range = PageRange::new(2, 6);
/// assert_eq!(range.intersect(PageRange::new(4, 9)), PageRange::new(4, 6));
/// assert!(range.holds(5) && !range.holds(6) && range.len() == 4);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PageRange {
    /// The first page.
    pub start: u64,
    /// One past the last page.
    pub end: u64,
}

impl PageRange {
    /// The range from `start` up to, not including, `end`.
    pub const fn new(start: u64, end: u64) -> PageRange {
        PageRange { start, end }
    }

    /// Whether `page` lies in it.
    pub const fn holds(self, page: u64) -> bool {
        self.start <= page && page < self.end
    }

    /// How many pages it holds.
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds no page.
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// The part that both have (possibly empty).
    pub const fn intersect(self, other: PageRange) -> PageRange {
        let start = if self.start > other.start { self.start } else { other.start };
        let end = if self.end < other.end { self.end } else { other.end };
        PageRange { start, end }
    }

    /// Whether every page of `other` lies in it.
    pub const fn contains(self, other: PageRange) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

impl From<Range<u64>> for PageRange {
    fn from(range: Range<u64>) -> PageRange {
        PageRange::new(range.start, range.end)
    }
}
