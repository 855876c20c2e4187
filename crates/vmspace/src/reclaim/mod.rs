//! Reclaim: pages are taken away when memory is short.
//!
//! Guarantee: a page goes only when no entry names it, no CPU can reach it, nobody holds it, and what
//! was stored in it is on its device, or with its pager. The stealer takes no lock of a space but,
//! by trying, that of one leaf at a time (R34), holds none of them into a pager or a device (R31),
//! and needs no memory.
//!
//! A hand goes round all frames; there are no lists. A page whose [age](age) says that it was not
//! used lately, and that no CPU [needs to get on](crate::latest), is [claimed](victim), its entries are
//! [swapped out](steal) through the reverse map and flushed everywhere, and then it is looked at:
//! written if need be, and [given up](give_up) if nobody has come back to it. What is mapped beside it
//! in the same leaf, and is as old, goes with it: one lock, one flush, slots in a row. When a round of
//! the hand finds too little, all pages grow a generation older; only when that does not help are
//! pages taken that were used. Who has stolen in vain because others were at the pages waits for those
//! and tries again; the stealer himself waits for nobody.

mod age;
mod balance;
mod give_up;
mod steal;
mod victim;

pub use balance::Watermarks;

use crate::addr::Frame;
use crate::context::MaySleep;
use crate::counters::Event;
use crate::lock;
use crate::platform::Platform;
use crate::swap::Cluster;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::vm::Vm;
use age::Urgency;
pub(crate) use steal::Within;

/// How many pages whoever needs memory steals before he tries again.
const BATCH: u64 = 32;

/// How many frames the hand passes over at a time.
const STRIDE: u64 = 64;

/// How long somebody is waited for who may be waiting himself.
const TURNS: u32 = if cfg!(any(loom, shuttle)) { 1 } else { 1 << 10 };

/// What all who steal share. On a line of its own: it is written where memory is short.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Reclaim {
    /// Where the hand is.
    hand: AtomicU64,
    /// The generation that pages used now belong to.
    generation: AtomicU32,
    /// Held by who makes all pages grow older; only ever tried.
    ageing: AtomicU32,
}

/// Who is in the way of stealing, where a page might go; last what it is best to wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Busy {
    /// Somebody has the page, or is about to drop its entry.
    Held,
    /// Another steals this page.
    Claimed(Frame),
    /// Somebody has locked this leaf, and with it all that it maps.
    Locked(Frame),
}

/// What came of stealing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Yield {
    /// Pages that are free.
    pub stolen: u64,
    /// Who was in the way.
    pub busy: Option<Busy>,
}

impl Yield {
    fn add(&mut self, more: Yield) {
        self.stolen += more.stolen;
        self.busy = self.busy.max(more.busy);
    }
}

impl<P: Platform> Vm<P> {
    /// Takes about `pages` pages away, those first that have not been used for long, whether memory is
    /// short or not; how many. (Linux's memory.reclaim.)
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// vm.swap_on(&mut ms, 1, 100, 0)?;
    /// let at = space.map(&mut ms, Map::anonymous(4096, rw))?;
    /// space.write(&mut ms, at, b"kept");
    /// assert_eq!(vm.reclaim(&mut ms, 10), 1);
    /// assert_eq!(space.swapped(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reclaim(&self, ms: &mut MaySleep, pages: u64) -> u64 {
        self.steal(ms, pages, &Urgency::ALL).stolen
    }

    /// Steals a few pages for one who needs memory.
    pub(crate) fn make_room(&self, ms: &mut MaySleep) -> Yield {
        self.steal(ms, BATCH, Urgency::IN_NEED)
    }

    /// Steals about so many pages, the least used ones first; fewer when there are no more.
    fn steal(&self, ms: &mut MaySleep, wanted: u64, urgencies: &[Urgency]) -> Yield {
        let mut sum = Yield::default();
        for urgency in urgencies {
            sum.add(self.go_round(ms, wanted, *urgency));
            if sum.stolen < wanted {
                self.age(ms);
            }
            if sum.stolen != 0 {
                break;
            }
        }
        sum
    }

    /// Lets the hand go round once, or until enough was stolen.
    fn go_round(&self, ms: &mut MaySleep, wanted: u64, urgency: Urgency) -> Yield {
        let (first, frames) = self.managed_span();
        let mut sum = Yield::default();
        let mut cluster = Cluster::default();
        for _ in 0..frames.div_ceil(STRIDE) {
            let at = self.reclaim.hand.fetch_add(STRIDE, Ordering::Relaxed) % frames;
            let stretch = at..frames.min(at + STRIDE);
            let scanned = stretch.clone().filter(|n| self.is_page(first.add(*n))).count();
            self.count(Event::PageScanned, scanned as u64);
            for frame in stretch.map(|n| first.add(n)) {
                if self.is_page(frame) && self.is_old(frame, urgency) {
                    sum.add(self.steal_page(ms, frame, Within::Anywhere, urgency, &mut cluster));
                }
            }
            if sum.stolen >= wanted {
                break;
            }
        }
        self.count(Event::PageStolen, sum.stolen);
        sum
    }

    /// Waits until whoever is in the way has gone on. For who has stolen in vain and can go on with
    /// nothing else: it is the one who asks that waits, as he would in a fault of his own. A leaf's
    /// holder waits for no memory; the others may wait, for a device or for who asks, so they are given
    /// some time only.
    pub(crate) fn let_go_on(&self, _: &mut MaySleep, busy: Busy) {
        let in_the_way = || match busy {
            Busy::Held => true,
            Busy::Claimed(page) => self.meta_of(page).is_claimed(),
            Busy::Locked(leaf) => {
                lock::wait(self.platform(), &self.meta_of(leaf).lock);
                false
            }
        };
        (0..TURNS).take_while(|_| in_the_way()).for_each(|_| self.platform().relax());
    }

    fn is_page(&self, frame: Frame) -> bool {
        self.meta_of(frame).kind() == crate::frame::meta::Kind::Page
    }
}
