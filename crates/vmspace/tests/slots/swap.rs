//! A slot, its device and three frames, and what threads do with them: `find_in_slot`, `put_slot`,
//! `fill_from_slot`, `bring_ahead_on_swap`, `give_up_to_slot`, `fill_swapped`, `try_hold_slot_of` and
//! `hold_slot` of the library, with each step that has a weaker one in [`Steps`].
//!
//! Guarantee: what one thread alone may have is a cell, so loom reports it when two have it: a page's
//! contents, whether its metadata name the slot, and what the device holds.

use loom::cell::UnsafeCell;
use loom::thread;
use vmspace::Frame;
use vmspace::frame::references::References;
use vmspace::swap::word::{self, Holders};
use vmspace::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// What the slot's page holds; what its owner writes; another page.
const OURS: u32 = 1;
const WRITTEN: u32 = 2;
const ANOTHERS: u32 = 3;

/// The steps that have weaker ones.
#[derive(Clone, Copy)]
pub struct Steps {
    pub take: fn(&AtomicU64, u64) -> bool,
    pub hold: fn(&AtomicU64) -> bool,
    pub hold_of_page: fn(&AtomicU64, Frame) -> bool,
    pub put: fn(&AtomicU64) -> Holders,
    pub end: fn(&Swap),
    pub page: fn(&AtomicU64) -> Option<Frame>,
    pub still_has: fn(&AtomicU64, Frame) -> bool,
    pub put_in: fn(&AtomicU64, Frame) -> bool,
    pub take_out: fn(&AtomicU64, u32),
    pub leave_if_last: fn(&AtomicU64, Frame) -> bool,
    pub freeze: fn(&References, u32) -> bool,
    pub is_own: fn(&References) -> bool,
    pub reads_again: bool,
}

pub const LIBRARY: Steps = Steps {
    take: word::take,
    hold: word::hold,
    hold_of_page: word::hold_of_page,
    put: word::put,
    end: |swap| {
        swap.discard();
        word::end(&swap.slot);
    },
    page: word::page,
    still_has: word::still_has,
    put_in: word::put_in,
    take_out: word::take_out,
    leave_if_last: word::leave_if_last,
    freeze: References::freeze,
    is_own: |references| {
        fence(Ordering::SeqCst);
        references.count() == 1
    },
    reads_again: true,
};

/// A frame that may hold the slot's page.
#[derive(Default)]
struct Page {
    references: References,
    contents: UnsafeCell<u32>,
    /// Its metadata name the slot.
    named: UnsafeCell<bool>,
}

pub struct Swap {
    steps: Steps,
    pub slot: AtomicU64,
    /// Whether the entry names the slot.
    entry: AtomicU32,
    /// What the device has of the slot.
    device: UnsafeCell<Option<u32>>,
    pages: [Page; 3],
}

// SAFETY: the cells are what loom checks; everything else is atomic.
unsafe impl Send for Swap {}
// SAFETY: as above.
unsafe impl Sync for Swap {}

impl Swap {
    /// A slot with so many references, whose page is in frame 0 alone, with so many.
    pub fn in_memory(steps: Steps, holders: u64, references: u32) -> Swap {
        let (slot, entry, device) = (AtomicU64::new(0), AtomicU32::new(1), UnsafeCell::new(None));
        let swap = Swap { steps, slot, entry, device, pages: Default::default() };
        assert!(word::take(&swap.slot, word::cached(Frame(0))));
        (1..holders).for_each(|_| assert!(word::hold_again(&swap.slot)));
        swap.write(0, OURS);
        swap.name(0, true);
        swap.pages[0].references.begin();
        (1..references).for_each(|_| swap.pages[0].references.get());
        swap
    }

    /// A slot with so many references, whose page is on the device alone.
    pub fn on_device(steps: Steps, holders: u64) -> Swap {
        let swap = Swap::in_memory(steps, holders, 1);
        swap.write_slot(OURS);
        assert!(swap.pages[0].references.freeze(1));
        word::take_out(&swap.slot, 7);
        swap.write(0, 0);
        swap
    }

    fn write(&self, page: usize, contents: u32) {
        // SAFETY: the page is the caller's alone; if not, loom says so.
        self.pages[page].contents.with_mut(|page| unsafe { *page = contents });
    }

    fn read(&self, page: usize) {
        // SAFETY: a read; loom reports a write at the same time.
        let contents = self.pages[page].contents.with(|page| unsafe { *page });
        assert_eq!(contents, OURS, "not the page looked for");
    }

    fn name(&self, page: usize, named: bool) {
        // SAFETY: who puts the page in or takes it out does; if two at a time, loom says so.
        self.pages[page].named.with_mut(|name| unsafe { *name = named });
    }

    fn is_named(&self, page: usize) -> bool {
        // SAFETY: a read; loom reports a change at the same time.
        self.pages[page].named.with(|name| unsafe { *name })
    }

    fn write_slot(&self, contents: u32) {
        // SAFETY: nobody reads the device yet; if somebody does, loom says so.
        self.device.with_mut(|device| unsafe { *device = Some(contents) });
    }

    fn read_slot(&self) -> u32 {
        // SAFETY: a read; loom reports a write at the same time.
        let contents = self.device.with(|device| unsafe { *device });
        contents.expect("the device is asked for what it does not have")
    }

    pub fn discard(&self) {
        // SAFETY: the slot is nobody's; if not, loom says so.
        self.device.with_mut(|device| unsafe { *device = None });
    }

    /// The frame is another page at once.
    fn give_frame(&self, page: usize) {
        self.write(page, ANOTHERS);
        self.pages[page].references.begin();
    }

    fn put_page(&self, page: usize) {
        if self.pages[page].references.put() {
            self.give_frame(page);
        }
    }

    fn put_slot(&self) {
        if let Holders::None(page) = (self.steps.put)(&self.slot) {
            (self.steps.end)(self);
            if let Some(Frame(page)) = page {
                self.name(page as usize, false);
                self.put_page(page as usize);
            }
        }
    }

    pub fn find_in_slot(&self) -> Option<usize> {
        loop {
            let page = (self.steps.page)(&self.slot)?;
            let references = &self.pages[page.0 as usize].references;
            if references.try_get() {
                if (self.steps.still_has)(&self.slot, page) {
                    return Some(page.0 as usize);
                }
                self.put_page(page.0 as usize);
            }
            thread::yield_now();
        }
    }

    /// Reads the slot into an empty frame, which becomes its page, with a reference, if none is there.
    fn fill_from_slot(&self, frame: usize) -> bool {
        let references = &self.pages[frame].references;
        self.write(frame, self.read_slot());
        references.begin();
        self.name(frame, true);
        references.get();
        let put = (self.steps.put_in)(&self.slot, Frame(frame as u64));
        if !put {
            self.put_page(frame);
            self.put_page(frame);
        }
        put
    }

    fn bring(&self, frame: usize) -> usize {
        match self.find_in_slot() {
            Some(page) => page,
            None if self.fill_from_slot(frame) => frame,
            None => self.find_in_slot().expect("the page that was there is gone"),
        }
    }

    /// Read-ahead, with an empty frame at hand.
    pub fn bring_ahead(&self, frame: usize) {
        if (self.steps.hold)(&self.slot) {
            let there = (self.steps.page)(&self.slot).is_some();
            if !there && self.fill_from_slot(frame) {
                self.put_page(frame);
            }
            self.put_slot();
        }
    }

    /// Looks at the page that an entry says is in the slot, with an empty frame at hand.
    pub fn look(&self, frame: usize) {
        if self.entry.load(Ordering::Relaxed) == 0 || !(self.steps.hold)(&self.slot) {
            return;
        }
        if !self.steps.reads_again || self.entry.load(Ordering::Relaxed) == 1 {
            let page = self.bring(frame);
            self.read(page);
            assert!(self.is_named(page), "a page does not know its slot");
            self.put_page(page);
        }
        self.put_slot();
    }

    /// Lets an entry of which the slot knows name the page, to which the caller has a reference, and
    /// gives his to the slot back. Writes the page if it is the entry's own.
    pub fn install(&self, page: usize) {
        if (self.steps.leave_if_last)(&self.slot, Frame(page as u64)) {
            self.name(page, false);
            self.put_page(page);
        } else {
            self.put_slot();
        }
        if (self.steps.is_own)(&self.pages[page].references) {
            self.write(page, WRITTEN);
        } else {
            self.read(page);
        }
        self.put_slot();
    }

    /// Steals the page in frame 0, which nothing maps, with references to it and to the slot.
    pub fn give_up(&self) {
        self.write_slot(OURS);
        if (self.steps.freeze)(&self.pages[0].references, 2) {
            (self.steps.take_out)(&self.slot, 7);
            self.give_frame(0);
        } else {
            self.put_page(0);
        }
        self.put_slot();
    }

    /// Wants to steal the page in frame 0, which says that it is the slot's.
    pub fn claim(&self) {
        if !self.pages[0].references.try_get() {
            return;
        }
        if (self.steps.hold_of_page)(&self.slot, Frame(0)) {
            self.read(0);
            self.put_slot();
        }
        self.put_page(0);
    }

    /// Reads the slot for himself.
    pub fn read_and_put(&self) {
        self.read_slot();
        self.put_slot();
    }

    /// The entry goes, and its reference with it.
    pub fn unmap(&self) {
        self.entry.store(0, Ordering::Relaxed);
        self.put_slot();
    }

    /// Stores another page, in the last frame, in the slot if it is free.
    pub fn store_another(&self) {
        let last = self.pages.len() - 1;
        self.give_frame(last);
        if (self.steps.take)(&self.slot, word::cached(Frame(last as u64))) {
            self.write_slot(ANOTHERS);
        }
    }

    /// The slot has one entry: its page is in memory once at the most, and on the device if not.
    pub fn is_whole(&self) {
        let found = self.slot.load(Ordering::Relaxed);
        assert_eq!(word::count(found), 1, "references to the slot were lost or left");
        assert_eq!(self.read_slot(), OURS);
        for (nth, page) in self.pages.iter().enumerate() {
            // SAFETY: all threads have been joined.
            let contents = page.contents.with(|contents| unsafe { *contents });
            let cached = word::frame(found) == Some(Frame(nth as u64));
            assert_eq!(contents == OURS, cached, "two frames have the page");
            let used = contents != 0;
            assert_eq!(page.references.count(), u32::from(used), "references were lost or left");
        }
    }

    /// The slot is free, the device has nothing, and frame 0 has so many references.
    pub fn is_free(&self, references: u32) {
        let found = self.slot.load(Ordering::Relaxed);
        assert_eq!(found, 0, "references to the slot were lost or left");
        assert_eq!(self.pages[0].references.count(), references, "references were lost or left");
        // SAFETY: all threads have been joined.
        assert!(self.device.with(|device| unsafe { *device }).is_none());
    }
}
