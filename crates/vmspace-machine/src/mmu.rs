//! One hart's translation: what it has cached, else a walk; and its answers to shootdowns.
//!
//! Guarantee: a pointer given out is valid for the access that was asked, until the hart next
//! answers a shootdown. The hart answers only at its poll points and on its way in; in between,
//! whoever takes a right away waits for it.
//!
//! Every access tries [`Mmu::hit`] first, which looks at one line, and then [`Mmu::translate`]. In
//! checking mode the lines stay empty, and `translate` compares what is cached with its entry first.

use crate::adversary::Adversary;
use crate::check::{Mismatch, Violation, Why, compare, compare_table};
use crate::config::Config;
use crate::ledger::Held;
use crate::platform::Hardware;
use crate::shootdown::{Port, mailbox::Mailbox};
use crate::statistics::HartCounts;
use crate::tlb::{
    Tlb,
    ids::{Id, Ids},
    store::Cached,
};
use crate::walker::{Found, Table, WalkCounts, frame_in_leaf, walk};
use vmspace::format::{Format, Geometry};
use vmspace::{Access, Frame, SpaceId};

mod answers;
mod switch;

/// What the hardware asks of the library above it.
pub trait Manager: Sync {
    /// The tables' format.
    type Format: Format;

    /// The hardware below.
    fn hardware(&self) -> &Hardware;

    /// The hart has dropped all that it cached of `space`, which lives, and has another root
    /// loaded, or none.
    /// Called by a hart inside: it must not wait.
    fn leave(&self, space: SpaceId, hart: usize);

    /// How often the frame has changed hands; none when it is not the manager's.
    fn generation(&self, frame: Frame) -> Option<u64>;

    /// Whether entries of this table may be changing now: its lock is held, or it was detached.
    fn is_unsettled(&self, table: Frame) -> bool;
}

/// A space, as the hardware loads it.
pub trait AddressSpace {
    /// Its name.
    fn id(&self) -> SpaceId;
    /// Its root table.
    fn root(&self) -> Frame;
    /// The hart is about to load the root: sets its bit in the space's set, and fences.
    fn enter(&self, hart: usize);
}

/// The access is refused: the program faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Loaded {
    space: SpaceId,
    root: Frame,
    id: Id,
}

/// An access to be translated.
#[derive(Clone, Copy)]
struct Asked {
    loaded: Loaded,
    address: u64,
    access: Access,
}

impl Asked {
    fn page<F: Format>(&self) -> u64 {
        self.address >> F::PAGE_SHIFT
    }
}

/// One hart's memory management unit.
pub struct Mmu<'m, V: Manager> {
    tlb: Tlb<V::Format>,
    counts: HartCounts,
    code_epoch: u64,
    loaded: Option<Loaded>,
    ids: Ids<'m>,
    hart: usize,
    port: &'m Port,
    manager: &'m V,
    check: bool,
    /// What is left to chance, in a TLB that leaves something to it.
    adversary: Option<Adversary>,
    walks: WalkCounts,
    /// Empty but during an answer.
    mail: Mailbox,
    violation: Option<Box<Violation>>,
    /// Loads and stores that may still be made, while they are counted.
    accesses: Option<u64>,
    /// An access was refused because none was left.
    held_back: bool,
}

impl<'m, V: Manager> Mmu<'m, V> {
    /// The unit of hart `hart`, which the caller has taken.
    pub(crate) fn new(manager: &'m V, hart: usize) -> Mmu<'m, V> {
        let config: &Config = manager.hardware().config();
        let port = manager.hardware().shootdowns().port(hart);
        Mmu {
            tlb: Tlb::new(config),
            counts: HartCounts::default(),
            code_epoch: 0,
            loaded: None,
            ids: Ids::new(port.ids()),
            hart,
            port,
            manager,
            check: config.check,
            adversary: Adversary::new(config, hart),
            walks: WalkCounts::default(),
            mail: Mailbox::new(),
            violation: None,
            accesses: None,
            held_back: false,
        }
    }

    /// Where `address` is in host memory, if it is aligned to `size` and the loaded space is known
    /// to grant `access`. If not, [`Mmu::translate`] says.
    #[inline(always)]
    pub fn hit(&mut self, address: u64, access: Access, size: u64) -> Option<*mut u8> {
        let found = self.tlb.lines.hit(address, access, size)?;
        self.counts.hits += 1;
        Some(found)
    }

    /// Where `address` is in host memory, if the loaded space grants `access`.
    ///
    /// # Errors
    /// [`Refused`], when it does not.
    #[inline(never)]
    pub fn translate(&mut self, address: u64, access: Access) -> Result<*mut u8, Refused> {
        if let Some(host) = self.hit(address, access, 1) {
            return Ok(host);
        }
        if let Some(loaded) = self.loaded.filter(|_| self.accesses.is_some()) {
            self.count(access)?;
            if let Some(host) = self.tlb.lines.find(loaded.id, address, access) {
                self.counts.hits += 1;
                return Ok(host);
            }
        }
        let translated = self.translate_page(address, access);
        self.counts.faults += u64::from(translated.is_none());
        let offset = address & (V::Format::PAGE_SIZE - 1);
        translated.map(|host| host.wrapping_add(offset as usize)).ok_or(Refused)
    }

    fn translate_page(&mut self, address: u64, access: Access) -> Option<*mut u8> {
        let page = address >> V::Format::PAGE_SHIFT;
        let loaded = self.loaded.filter(|_| page < V::Format::USER_PAGES)?;
        let asked = Asked { loaded, address, access };
        let kept = self.tlb.find(loaded.id, page);
        if let Some(cached) = kept.filter(|cached| cached.serves::<V::Format>(access))
            && !self.adversary.as_mut().is_some_and(Adversary::refetches)
        {
            if self.check {
                self.counts.checks += 1;
                let compared = compare(self.manager, loaded.root, page, &cached);
                self.report(asked, cached, compared)?;
            }
            self.counts.hits += 1;
            return self.serve(loaded.id, page, access, &cached);
        }
        self.counts.misses += 1;
        let cached = self.fetch(asked)?;
        self.speculate(loaded, page)?;
        self.serve(loaded.id, page, access, &cached)
    }

    /// Walks from the lowest table that is remembered, and keeps what is found.
    fn fetch(&mut self, asked: Asked) -> Option<Cached> {
        let Asked { loaded, access, .. } = asked;
        let page = asked.page::<V::Format>();
        let from = self.start(asked)?;
        let (tlb, memory) = (&mut self.tlb, self.manager.hardware().memory());
        let pass = |table| tlb.keep_table(loaded.id, page, table);
        let found = walk::<V::Format>(memory, from, page, access, &mut self.walks, pass)?;
        let mut cached = Cached { word: found.word, level: found.level, generation: None };
        if self.check {
            let leaf = cached.leaf::<V::Format>()?;
            let frame = frame_in_leaf::<V::Format>(found.level, leaf, page);
            cached.generation = self.manager.generation(frame);
            self.bring_in(asked, cached, found)?;
        }
        self.tlb.keep(loaded.id, page, cached);
        Some(cached)
    }

    /// The table that a walk begins at; none, and the violation noted, when it is stale.
    fn start(&mut self, asked: Asked) -> Option<Table> {
        let Asked { loaded, .. } = asked;
        let page = asked.page::<V::Format>();
        let Some(table) = self.tlb.table(loaded.id, page) else {
            return Some(Table::root::<V::Format>(loaded.root));
        };
        if self.check {
            self.counts.checks += 1;
            let level = table.level + 1;
            let word = V::Format::table(level, table.frame);
            let cached = Cached { word, level, generation: None };
            let compared = compare_table(self.manager, loaded.root, page, table);
            self.report(asked, cached, compared)?;
        }
        Some(table)
    }

    /// Enters what a walk found into the ledger, if there is one; none, and the violation noted,
    /// when a hart may hold another translation.
    fn bring_in(&mut self, asked: Asked, cached: Cached, found: Found) -> Option<()> {
        let Some(ledger) = self.manager.hardware().shootdowns().ledger() else { return Some(()) };
        let pages = V::Format::slot_pages(cached.level);
        let start = asked.page::<V::Format>() & !(pages - 1);
        let frame = cached.leaf::<V::Format>()?.frame;
        let held = Held { start, pages, frame, cached, since: self.port.door.answered() };
        let Some((holder, other)) = ledger.bring_in(self.hart, asked.loaded.space, held) else {
            return Some(());
        };
        let mismatch = (Why::Unbroken { holder }, Some(found));
        self.report(asked, other.cached, Err(mismatch))
    }

    /// On the way in: forgets what chance wants forgotten.
    pub(crate) fn evict(&mut self) {
        let eighth = self.adversary.as_mut().and_then(Adversary::evicts);
        if let (Some(loaded), Some(eighth)) = (self.loaded, eighth) {
            self.tlb.evict(loaded.id, eighth);
        }
    }

    /// Walks for a page near `page` when chance wants it, and keeps it for reading. None: that came
    /// upon a violation.
    fn speculate(&mut self, loaded: Loaded, page: u64) -> Option<()> {
        let near = self.adversary.as_mut().and_then(|a| a.speculates::<V::Format>(page));
        let Some(near) = near else { return Some(()) };
        self.counts.speculated += 1;
        let address = near << V::Format::PAGE_SHIFT;
        if let Some(cached) = self.fetch(Asked { loaded, address, access: Access::Read }) {
            self.serve(loaded.id, near, Access::Read, &cached);
        }
        self.violation.is_none().then_some(())
    }

    /// The outcome of a comparison: when it is none, the violation is noted.
    fn report(
        &mut self,
        asked: Asked,
        cached: Cached,
        compared: Result<(), Mismatch>,
    ) -> Option<()> {
        let Err((why, present)) = compared else { return Some(()) };
        let Asked { loaded, address, access } = asked;
        self.violation.get_or_insert_with(|| {
            Box::new(Violation {
                hart: self.hart,
                space: loaded.space,
                address,
                access,
                format: V::Format::NAME,
                cached,
                entry: V::Format::decode(cached.level, cached.word),
                present,
                why,
            })
        });
        None
    }

    fn serve(&mut self, id: Id, page: u64, access: Access, cached: &Cached) -> Option<*mut u8> {
        let leaf = cached.leaf::<V::Format>()?;
        let frame = frame_in_leaf::<V::Format>(cached.level, leaf, page);
        let host = self.manager.hardware().memory().get::<V::Format>(frame)?;
        self.tlb.serve(id, page, access, cached.level, host);
        Some(host)
    }

    /// What `--check` found, if anything: the run is over.
    pub fn take_violation(&mut self) -> Option<Box<Violation>> {
        self.violation.take()
    }

    /// Grows whenever code that was translated may be other code now.
    pub fn code_epoch(&self) -> u64 {
        self.code_epoch
    }

    /// Checking mode: what was fetched is looked at again, since instructions that are decoded
    /// already are run without a translation.
    pub(crate) fn check_code(&mut self) {
        self.code_epoch += u64::from(self.check);
    }

    /// Code may be other code now.
    pub fn code_changed(&mut self) {
        self.code_epoch += 1;
    }

    /// The machine's clock.
    pub fn ticks(&self) -> u64 {
        self.manager.hardware().time()
    }

    /// What has been counted.
    pub fn counts(&self) -> HartCounts {
        HartCounts {
            walks: self.walks.walks,
            walk_retries: self.walks.retries,
            accessed_set: self.walks.accessed,
            dirty_set: self.walks.dirty,
            ..self.counts
        }
    }
}

/// Counted accesses: where a run may be interrupted between two instructions that do not branch.
impl<V: Manager> Mmu<'_, V> {
    /// Lets so many loads and stores happen. Until [`Mmu::end_counting`] the lines are not looked at
    /// inline, so that each access comes to [`Mmu::translate`].
    pub(crate) fn begin_counting(&mut self, accesses: u64) {
        self.accesses = Some(accesses);
        self.tlb.lines.select(None);
    }

    /// Counts no more. Whether an access was held back, which is to be made again.
    pub(crate) fn end_counting(&mut self) -> bool {
        self.accesses = None;
        self.tlb.lines.select(self.loaded.map(|loaded| loaded.id));
        std::mem::take(&mut self.held_back)
    }

    fn count(&mut self, access: Access) -> Result<(), Refused> {
        match &mut self.accesses {
            Some(left) if access != Access::Execute => match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    self.held_back = true;
                    return Err(Refused);
                }
            },
            _ => {}
        }
        Ok(())
    }
}
