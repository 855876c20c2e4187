//! Page faults.
//!
//! Guarantee: when `fault` answers Ok, the access that faulted can be tried again, and either
//! succeeds or faults for a newer reason. A fault locks exactly one node, the lowest that exists
//! over the page, and waits inside neither for memory nor for a pager: pages are allocated, zeroed
//! and copied before.
//!
//! Protocol. Look without locks what is *needed* ([`Need`]), taking a reference to what will be
//! copied or mapped; prepare it; lock; look again. If the need is the same, install; else give
//! back what was prepared and start again. Missing tables are built privately, with the final
//! entry in the leaf, and attached in one window.
//!
//! A page that is copied cannot change meanwhile: the reference, held until the copy is installed,
//! keeps its owners from taking it for their own, and the entry is compared again under the lock.

use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::counters::Event;
use crate::error::Error;
use crate::format::{Entry, Format, Geometry, Leaf, Rights};
use crate::frame::meta::Kind;
use crate::lock;
use crate::mutation::Mutation;
use crate::object;
use crate::platform::{PagerError, Platform};
use crate::region::Key;
use crate::rmap::{self, Mapper};
use crate::space::{Space, is_device, is_own};
use crate::sync::{Ordering, fence};
use crate::tree::cursor::{self, Cursor};
use crate::tree::gather::Gather;
use crate::tree::locking::{self, Held, Seen};
use crate::tree::node::{Fresh, Node};
use crate::tree::walk;
use crate::vm::{Guard, Vm};

/// How memory was accessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store, or a read-modify-write.
    Write,
    /// An instruction fetch.
    Execute,
}

impl Access {
    /// Whether rights (of an entry, or of a region) allow it. Writing implies reading, as in
    /// Linux's protection map.
    pub fn allowed_by(self, rights: Rights) -> bool {
        match self {
            Access::Read => rights.intersects(Rights::READ.union(Rights::WRITE)),
            Access::Write => rights.contains(Rights::WRITE),
            Access::Execute => rights.contains(Rights::EXECUTE),
        }
    }
}

/// Why a fault could not be resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// Nothing is mapped there (SIGSEGV, SEGV_MAPERR).
    NotMapped,
    /// The mapping does not allow the access (SIGSEGV, SEGV_ACCERR).
    Denied,
    /// The mapping has nothing behind the address (SIGBUS).
    NoPage,
    /// No memory is left (Linux kills the process).
    OutOfMemory,
    /// The address is beyond the user's (SIGSEGV, SEGV_MAPERR).
    NotUser,
    /// It can only be resolved where sleeping is allowed.
    MustSleep,
}

/// What a fault needs to be resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Need {
    /// Nothing: the entry allows the access.
    Nothing,
    /// The entry's page with the region's rights.
    Rights,
    /// The zero page.
    Zero,
    /// A zeroed page.
    Fresh,
    /// A copy of this page.
    Copy(Frame),
    /// The object's page at this index.
    Object(u64, u64),
    /// Whoever changes the entry to be done.
    Wait,
    /// It is refused.
    Refused(FaultError),
}

impl Need {
    fn event(self) -> Event {
        match self {
            Need::Nothing | Need::Wait => Event::FaultSpurious,
            Need::Rights => Event::FaultReuse,
            Need::Zero => Event::FaultZero,
            Need::Fresh => Event::FaultAnonymous,
            Need::Copy(_) => Event::FaultCopy,
            Need::Object(..) => Event::FaultShared,
            Need::Refused(_) => Event::FaultRefused,
        }
    }
}

/// Whether an entry cannot but allow the access when it gives these rights: what may be fetched may
/// be loaded, where the format has no bit against it.
#[cold]
fn is_implied<F: Format>(rights: Rights, access: Access) -> bool {
    let leaf = Leaf { frame: Frame(0), rights, accessed: false, dirty: false };
    match F::decode(0, F::leaf(0, leaf)) {
        Entry::Leaf(leaf) => access.allowed_by(leaf.rights),
        _ => false,
    }
}

/// What a fault is for.
#[derive(Clone, Copy)]
struct Wish {
    access: Access,
    /// The page is to be the space's alone, if the memory is private: somebody will hold it.
    own: bool,
}

/// What the region and the entry together need for the access.
#[inline]
fn need<P: Platform>(vm: &Vm<P>, key: Key, page: u64, entry: Entry, wish: Wish) -> Need {
    let access = wish.access;
    if !key.is_mapped() {
        return Need::Refused(FaultError::NotMapped);
    }
    let rights = key.attributes.rights();
    if !access.allowed_by(rights) && !is_implied::<P::Format>(rights, access) {
        return Need::Refused(FaultError::Denied);
    }
    match entry {
        Entry::Leaf(leaf) if access.allowed_by(leaf.rights) && !wish.own => Need::Nothing,
        Entry::Leaf(leaf) if (access == Access::Write || wish.own) && key.is_private() => {
            match vm.mapped_meta(leaf.frame) {
                None => Need::Fresh,
                Some(meta) if !is_own(meta) => Need::Copy(leaf.frame),
                Some(_) if access.allowed_by(leaf.rights) => Need::Nothing,
                Some(_) => Need::Rights,
            }
        }
        Entry::Leaf(leaf) if access.allowed_by(leaf.rights) => Need::Nothing,
        Entry::Leaf(_) => Need::Rights,
        Entry::Soft(_) | Entry::Table(_) => Need::Wait,
        Entry::Empty if is_device(key) => Need::Refused(FaultError::NoPage),
        Entry::Empty if key.object != 0 => Need::Object(key.object, page.wrapping_sub(key.origin)),
        Entry::Empty if access == Access::Write || wish.own => Need::Fresh,
        Entry::Empty => Need::Zero,
    }
}

impl<'vm, P: Platform> Space<'vm, P> {
    /// Resolves a fault of user code at `address`, in bytes.
    ///
    /// # Errors
    /// [`FaultError`], but for `MustSleep`.
    #[inline]
    pub fn fault(&self, ms: &mut MaySleep, address: u64, access: Access) -> Result<(), FaultError> {
        self.resolve(ms, address, Wish { access, own: false })
    }

    /// The same, and private memory's page is the space's alone afterwards: not the zero page, and
    /// shared with no fork.
    pub(crate) fn fault_own(
        &self,
        ms: &mut MaySleep,
        address: u64,
        access: Access,
    ) -> Result<(), FaultError> {
        self.resolve(ms, address, Wish { access, own: true })
    }

    fn resolve(&self, ms: &mut MaySleep, address: u64, wish: Wish) -> Result<(), FaultError> {
        let page = address >> P::Format::PAGE_SHIFT;
        if page >= P::Format::USER_PAGES {
            return Err(FaultError::NotUser);
        }
        loop {
            let (need, held, seen) = self.look(ms, page, wish);
            match need {
                Need::Refused(FaultError::NotMapped) if self.grow_stack(ms, page)? => continue,
                Need::Refused(error) => {
                    self.vm.count(Event::FaultRefused, 1);
                    return Err(error);
                }
                _ => {}
            }
            let settled = match self.ready(ms, need, held) {
                Ok(ready) => self.settle(ms, page, wish, need, ready, &seen),
                Err(error) => Err(error),
            };
            // Not before: a frame, or an object, that is reused would look the same again.
            match need {
                Need::Copy(from) if held => rmap::put_page(self.vm, from),
                Need::Object(object, _) if held => object::put(self.vm, object, 1),
                _ => {}
            }
            if settled? {
                self.vm.count(need.event(), 1);
                return Ok(());
            }
        }
    }

    /// Resolves what can be resolved without locks and memory: accessed and dirty bits that the
    /// processor leaves to software. For interrupts, and for those who hold a guard or a lock.
    ///
    /// # Errors
    /// [`FaultError::MustSleep`] when that is not enough.
    pub fn fault_atomic(
        &self,
        guard: &Guard<'_, P>,
        address: u64,
        access: Access,
    ) -> Result<(), FaultError> {
        let page = address >> P::Format::PAGE_SHIFT;
        if page >= P::Format::USER_PAGES {
            return Err(FaultError::NotUser);
        }
        let mut node = Node::at(guard.vm(), self.root(), P::Format::ROOT_LEVEL);
        while let Some(child) = node.child(node.index(page)) {
            node = child;
        }
        let index = node.index(page);
        let word = node.load(index);
        match P::Format::decode(node.level, word) {
            Entry::Leaf(leaf) if access.allowed_by(leaf.rights) => {
                let touched = P::Format::touched(node.level, word, access == Access::Write);
                // A failure means a newer word: the access finds out.
                let _ = cursor::exchange(self.vm, node, index, word, touched);
                Ok(())
            }
            _ => Err(FaultError::MustSleep),
        }
    }

    /// What is needed, without locks. True: a reference to the page or object named was taken.
    fn look(&self, ms: &mut MaySleep, page: u64, wish: Wish) -> (Need, bool, Seen) {
        let guard = self.vm.walk(ms);
        let seen = walk::page(&guard, self.root(), page);
        let entry = P::Format::decode(seen.level, seen.word);
        let need = need(self.vm, seen.key, page, entry, wish);
        let (need, held) = match need {
            Need::Copy(frame) if self.try_hold_source(frame, page, &seen) => (need, true),
            Need::Object(object, _) if object::try_get(&guard, object) => (need, true),
            // It is going away: look again.
            Need::Copy(_) | Need::Object(..) => (Need::Wait, false),
            _ => (need, false),
        };
        (need, held, seen)
    }

    /// A reference to a page to copy, found in the entry seen. From then on nobody takes the page
    /// for its own, so that nobody writes it; who did so before has changed the entry, or still
    /// holds its table's lock.
    fn try_hold_source(&self, frame: Frame, page: u64, seen: &Seen) -> bool {
        if !self.vm.meta_of(frame).refs.try_get() {
            return false;
        }
        // Pairs with the fence in `is_own`: he sees our reference, or we see his lock.
        fence(Ordering::SeqCst);
        let node = Node::at(self.vm, seen.frame, seen.level);
        let unsettled = lock::is_unsettled(&node.meta.lock);
        // Pairs with the lock's release: its holder's entries are seen.
        fence(Ordering::Acquire);
        let held = !unsettled && node.load(node.index(page)) == seen.word;
        if !held {
            rmap::put_page(self.vm, frame);
        }
        held
    }

    /// Prepares the page that the need asks for; `held`: `look` took a reference.
    fn ready(
        &self,
        ms: &mut MaySleep,
        need: Need,
        held: bool,
    ) -> Result<Option<Ready>, FaultError> {
        let vm = self.vm;
        let prepared = match need {
            Need::Fresh => vm.reclaiming(ms, |_| vm.take_frame(Kind::Page)).map(|frame| {
                vm.platform().zero(frame);
                Some(Ready { frame, fresh: true })
            }),
            Need::Copy(from) if held => {
                vm.reclaiming(ms, |_| vm.take_frame(Kind::Page)).map(|frame| {
                    vm.copy_frame(from, frame);
                    Some(Ready { frame, fresh: true })
                })
            }
            Need::Object(object, index) if held => {
                match vm.reclaiming(ms, |ms| object::page(vm, ms, object, index)) {
                    Ok(Err(PagerError)) => return Err(FaultError::NoPage),
                    Ok(Ok(frame)) => Ok(Some(Ready { frame, fresh: false })),
                    Err(error) => Err(error),
                }
            }
            _ => Ok(None),
        };
        prepared.map_err(|_| FaultError::OutOfMemory)
    }

    /// Locks, looks again, and installs if the need is still the same. False: look again.
    fn settle(
        &self,
        ms: &mut MaySleep,
        page: u64,
        wish: Wish,
        expected: Need,
        ready: Option<Ready>,
        seen: &Seen,
    ) -> Result<bool, FaultError> {
        let vm = self.vm;
        let settled = vm.reclaiming(ms, |ms| {
            let (held, same) = locking::lock_page(self.root_node(), ms, page, seen);
            let node = held.top;
            let entry = node.entry(node.index(page));
            let key = if same { seen.key } else { node.piece(page).0.key };
            // What is needed follows from the node alone, but for whose the page is.
            let still = match expected {
                Need::Zero | Need::Fresh | Need::Object(..) if same => true,
                _ => need(vm, key, page, entry, wish) == expected,
            };
            let install = || Install { node, page, access: wish.access, key, ready };
            match entry {
                Entry::Empty if still => {
                    let done = install().fill();
                    held.release();
                    done
                }
                Entry::Leaf(old) if still => {
                    install().change(held, ms, expected, old);
                    Some(true)
                }
                _ => {
                    held.release();
                    Some(false)
                }
            }
        });
        if !matches!(settled, Ok(true))
            && let Some(ready) = ready
        {
            ready.give_back(vm);
        }
        settled.map_err(|_| FaultError::OutOfMemory)
    }

    /// Lets the stack above `page` grow over it. False: there is none that may.
    fn grow_stack(&self, ms: &mut MaySleep, page: u64) -> Result<bool, FaultError> {
        match self.extend_stack(ms, page) {
            Ok(grown) => {
                self.vm.count(Event::FaultStack, u64::from(grown));
                Ok(grown)
            }
            Err(Error::OutOfMemory) => Err(FaultError::OutOfMemory),
            Err(_) => Ok(false),
        }
    }
}

/// A page prepared, with the reference that its entry will hold.
#[derive(Clone, Copy)]
struct Ready {
    frame: Frame,
    /// Nobody else has seen it: no metadata yet.
    fresh: bool,
}

impl Ready {
    fn give_back<P: Platform>(self, vm: &Vm<P>) {
        if self.fresh {
            vm.give_frame(self.frame);
        } else {
            rmap::put_page(vm, self.frame);
        }
    }
}

/// The last step of a fault, under the lock of the lowest node over the page.
struct Install<'a, P: Platform> {
    node: Node<'a, P>,
    page: u64,
    access: Access,
    key: Key,
    ready: Option<Ready>,
}

impl<'a, P: Platform> Install<'a, P> {
    fn leaf(&self, frame: Frame, rights: Rights) -> Leaf {
        Leaf { frame, rights, accessed: true, dirty: self.access == Access::Write }
    }

    /// What the entry may allow.
    fn rights(&self) -> Rights {
        self.key.attributes.rights().with_implied()
    }

    /// Lets the leaf entry `old` name the page prepared, or gives it the region's rights if that is
    /// the need; then releases the lock.
    fn change(self, held: Held<'a, P>, ms: &mut MaySleep, need: Need, old: Leaf) {
        let Install { node, page, .. } = self;
        let (vm, index, rights) = (node.vm, node.index(page), self.rights());
        let mut gather = Gather::default();
        let range = PageRange::new(page, page + 1);
        let mut cursor = Cursor::of(held, ms, &mut gather, range, Mutation::NoShootdownAtCopy);
        if let Some(ready) = self.ready {
            rmap::init_page(vm.meta_of(ready.frame), Some(Mapper { table: node.frame, index }));
            let word = P::Format::leaf(node.level, self.leaf(ready.frame, rights));
            cursor.exchange_frame(node, index, old, word);
            vm.totals(cursor.space).resident.fetch_add(1, Ordering::Relaxed);
        } else {
            if need == Need::Rights {
                let writable = !self.key.is_private() || self.access == Access::Write;
                cursor.change_entry(node, index, |now| {
                    let keep = writable || now.rights.contains(Rights::WRITE);
                    if keep { rights } else { rights.difference(Rights::WRITE) }
                });
            }
            // Where the processor leaves accessed and dirty to software, they may be all it lacks.
            let _ = crate::access::touch(node, page, self.access);
            vm.platform().flush_local(cursor.space, page);
        }
        cursor.commit().release();
    }

    /// Lets the empty entry name the page prepared, or the zero page, with the tables that are
    /// missing. None: no memory for tables or records, and nothing has changed.
    #[inline]
    fn fill(self) -> Option<bool> {
        let (vm, node, ready) = (self.node.vm, self.node, self.ready);
        let leaf = match ready {
            Some(ready) => self.leaf(ready.frame, self.rights()),
            None => self.leaf(vm.zero_frame(), self.rights().difference(Rights::WRITE)),
        };
        let word = P::Format::leaf(0, leaf);
        if node.level == 0 {
            let index = node.index(self.page);
            record(node, index, ready)?;
            node.fill(index, word);
        } else {
            fill_chain(node, self.page, ready, word)?;
        }
        if ready.is_some() {
            vm.totals(node.space()).resident.fetch_add(1, Ordering::Relaxed);
        }
        Some(true)
    }
}

/// Puts a leaf where there is nothing, below a node that is no leaf table: through new tables.
#[cold]
fn fill_chain<P: Platform>(
    top: Node<'_, P>,
    page: u64,
    ready: Option<Ready>,
    word: u64,
) -> Option<()> {
    let chain = Chain::make(top, page)?;
    let last = chain.last(top);
    let index = last.index(page);
    if record(last, index, ready).is_none() {
        chain.unmake();
        return None;
    }
    // SAFETY: the chain's tables are private until it is attached.
    unsafe { Fresh::new(last) }.set(index, word);
    chain.attach(top, page);
    Some(())
}

/// Records the mapper of the page prepared, if there is one. None: no memory.
#[inline]
fn record<P: Platform>(node: Node<'_, P>, index: usize, ready: Option<Ready>) -> Option<()> {
    let Some(ready) = ready else { return Some(()) };
    let (vm, mapper) = (node.vm, Mapper { table: node.frame, index });
    let meta = vm.meta_of(ready.frame);
    if !ready.fresh {
        return rmap::add(vm, meta, mapper);
    }
    rmap::init_page(meta, Some(mapper));
    Some(())
}

/// The most levels below a root.
const MOST_TABLES: usize = 5;

/// Private tables from below a node down to the leaf of a page.
struct Chain<'a, P: Platform> {
    tables: arrayvec::ArrayVec<Node<'a, P>, MOST_TABLES>,
}

impl<'a, P: Platform> Chain<'a, P> {
    /// None: no memory, and nothing is left of it.
    fn make(top: Node<'a, P>, page: u64) -> Option<Self> {
        let mut chain = Chain { tables: arrayvec::ArrayVec::new() };
        let mut node = top;
        while node.level > 0 {
            let Some(child) = locking::make_child(node, node.index(page)) else {
                chain.unmake();
                return None;
            };
            chain.tables.push(child);
            node = child;
        }
        Some(chain)
    }

    fn last(&self, top: Node<'a, P>) -> Node<'a, P> {
        self.tables.last().copied().unwrap_or(top)
    }

    /// Links the tables, from the leaf up, and attaches the first to `top`.
    fn attach(self, top: Node<'a, P>, page: u64) {
        for pair in self.tables.windows(2).rev() {
            let index = pair[0].index(page);
            // SAFETY: the chain's tables are private until the first is attached.
            unsafe { Fresh::new(pair[0]) }.set_child(index, pair[1]);
            let mut dropped = object::Dropped::new();
            pair[0].forget_slot(index, &mut dropped);
        }
        if let Some(first) = self.tables.first() {
            locking::attach(top, top.index(page), *first);
        }
    }

    fn unmake(self) {
        self.tables.into_iter().for_each(Node::unmake);
    }
}
