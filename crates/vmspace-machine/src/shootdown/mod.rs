//! Shootdowns: how harts are made to forget.
//!
//! Guarantee: [`Shootdowns::shoot`] returns when each hart of the set has dropped what the batch
//! names, or is outside and will drop it before it translates again. No other hart is
//! interrupted, nothing else is dropped (but where a hart's mailbox overflows), nothing is
//! allocated. Threads that are not harts cache nothing and are never waited for.
//!
//! [`door`] is the protocol between a poster and a hart; [`mailbox`] is what is posted. Whoever
//! shoots is outside (harts run the library only there), so a hart that waits here has answered
//! everybody else already.
//!
//! A walk never lasts beyond an answer, so a batch that owns tables asks for nothing more, but of
//! harts that remember pointers to tables.

pub mod door;
pub mod mailbox;

use crate::ledger::Ledger;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::tlb::ids::IdTable;
use door::{Door, Ticket};
use mailbox::Mailbox;
use vmspace::{Batch, CpuSet, Frame, MAX_CPUS, Shot, SpaceId};

/// One hart's end.
#[derive(Debug)]
#[repr(align(128))]
pub struct Port {
    /// Where it is, and what it has answered.
    pub door: Door<Mailbox>,
    /// It is asked to come out.
    kicked: AtomicBool,
    /// A host thread runs it.
    taken: AtomicBool,
    ids: IdTable,
}

impl Port {
    fn new(ids: usize) -> Port {
        Port {
            door: Door::new(Mailbox::new()),
            kicked: AtomicBool::new(false),
            taken: AtomicBool::new(false),
            ids: IdTable::new(ids),
        }
    }

    /// Its identifiers.
    pub fn ids(&self) -> &IdTable {
        &self.ids
    }

    /// Claims the hart for one host thread; false when another has it.
    pub fn take(&self) -> bool {
        // Acquire: pairs with `give_back`, so the last owner is done with the door.
        !self.taken.swap(true, Ordering::Acquire)
    }

    /// The hart is anyone's again. Its owner has dropped all that it cached.
    pub fn give_back(&self) {
        // Release: pairs with `take`.
        self.taken.store(false, Ordering::Release);
    }

    /// Asks the hart to come out soon.
    pub fn kick(&self) {
        // Ordered before the post by its mutex, which the hart takes before it looks.
        self.kicked.store(true, Ordering::Relaxed);
        self.door.post(|_| {});
    }

    /// The hart, having drained: whether it was asked to come out since it was last told so.
    pub fn take_kick(&self) -> bool {
        self.kicked.load(Ordering::Relaxed) && self.kicked.swap(false, Ordering::Relaxed)
    }
}

/// What one CPU's shootdowns came to. Only that CPU writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    batches: AtomicU64,
    pages: AtomicU64,
    spaces: AtomicU64,
    interrupted: AtomicU64,
    outside: AtomicU64,
}

/// Sums of what shootdowns came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShootdownCounts {
    /// Batches shot.
    pub batches: u64,
    /// Pages named in them.
    pub pages: u64,
    /// Batches that took a whole space.
    pub spaces: u64,
    /// Harts that were inside and had to be waited for.
    pub interrupted: u64,
    /// Harts that were outside, and so had answered.
    pub outside: u64,
}

/// All harts' ports.
#[derive(Debug)]
pub struct Shootdowns {
    ports: Box<[Port]>,
    counts: Box<[Counts]>,
    /// What each hart may hold, where two translations of one page are watched for.
    ledger: Option<Ledger>,
}

impl Shootdowns {
    /// Ports for `harts` harts of `ids` identifiers, counts for `cpus` CPUs; a ledger where two
    /// translations of one page are to be watched for.
    pub fn new(harts: usize, ids: usize, cpus: usize, ledger: bool) -> Shootdowns {
        Shootdowns {
            ledger: ledger.then(|| Ledger::new(harts)),
            ports: (0..harts).map(|_| Port::new(ids)).collect(),
            counts: (0..cpus).map(|_| Counts::default()).collect(),
        }
    }

    /// A hart's port.
    pub fn port(&self, hart: usize) -> &Port {
        &self.ports[hart]
    }

    /// What each hart may hold.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// How many harts there are.
    pub fn harts(&self) -> usize {
        self.ports.len()
    }

    /// Makes the harts among `cpus` forget what `batch` names of `space`; `relax` is called in
    /// every turn of the wait.
    pub fn shoot(
        &self,
        shooter: usize,
        cpus: &CpuSet,
        space: SpaceId,
        batch: &Batch<'_>,
        relax: impl Fn(),
    ) {
        let mut tickets = [None::<Ticket>; MAX_CPUS];
        let harts = || cpus.iter().take_while(|cpu| *cpu < self.ports.len());
        let (mut interrupted, mut outside) = (0, 0);
        for hart in harts() {
            let door = &self.ports[hart].door;
            let ticket = door.post(|mailbox| mailbox.add(space, batch));
            if door.is_answered(ticket) {
                outside += 1;
            } else {
                interrupted += 1;
            }
            tickets[hart] = Some(ticket);
        }
        for hart in harts() {
            let Some(ticket) = tickets[hart] else { continue };
            while !self.ports[hart].door.is_answered(ticket) {
                relax();
            }
            if let Some(ledger) = &self.ledger {
                ledger.invalidate(hart, ticket, space, batch.pages);
            }
        }
        self.count(shooter, batch, interrupted, outside);
    }

    /// Hart `cpu`, which is the caller and outside, will forget one page before it translates
    /// again. For a CPU that is no hart there is nothing to forget.
    pub fn forget_page(&self, cpu: usize, space: SpaceId, page: u64) {
        let Some(port) = self.ports.get(cpu) else { return };
        let ticket = port.door.post(|mailbox| mailbox.add_page(space, page));
        if let Some(ledger) = &self.ledger {
            ledger.invalidate(cpu, ticket, space, Some(&[Shot { page, frame: Frame(0) }]));
        }
    }

    /// Makes every hart forget that there is such a space: when this returns, none will name it
    /// again. Nobody loads it any more.
    pub fn forget_space(&self, space: SpaceId, relax: impl Fn()) {
        for (hart, port) in self.ports.iter().enumerate() {
            if !port.ids.strike_out(space) {
                continue;
            }
            let ticket = port.door.post(|_| {});
            while !port.door.is_answered(ticket) {
                relax();
            }
            if let Some(ledger) = &self.ledger {
                ledger.forget(hart, space);
            }
        }
    }

    fn count(&self, shooter: usize, batch: &Batch<'_>, interrupted: u64, outside: u64) {
        let counts = &self.counts[shooter];
        counts.batches.fetch_add(1, Ordering::Relaxed);
        match batch.pages {
            Some(pages) => counts.pages.fetch_add(pages.len() as u64, Ordering::Relaxed),
            None => counts.spaces.fetch_add(1, Ordering::Relaxed),
        };
        counts.interrupted.fetch_add(interrupted, Ordering::Relaxed);
        counts.outside.fetch_add(outside, Ordering::Relaxed);
    }

    /// The sums over all shooters.
    pub fn counts(&self) -> ShootdownCounts {
        let sum = |field: fn(&Counts) -> &AtomicU64| {
            self.counts.iter().map(|counts| field(counts).load(Ordering::Relaxed)).sum()
        };
        ShootdownCounts {
            batches: sum(|counts| &counts.batches),
            pages: sum(|counts| &counts.pages),
            spaces: sum(|counts| &counts.spaces),
            interrupted: sum(|counts| &counts.interrupted),
            outside: sum(|counts| &counts.outside),
        }
    }
}
