//! A backend that keeps a copy of every table, as a hypervisor's shadow or a hash table would.
//!
//! It is told of changes, and sees the tables' memory only at two moments: when a table is attached
//! (it was filled by plain writes until then) and when its lock is about to be released. It is also
//! the hardware at its worst: between an operation's look at an entry and its change, accessed and
//! dirty are set. What does not agree is noted, since a panic in here would leave locks held.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::{self, ThreadId};
use vmspace::backend::NoTable;
use vmspace::format::{Entry, Format, Geometry, Rights};
use vmspace::{Backend, Cell, Frame, Native, Slot};

/// Whom a table is known to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Who made it: it may be filled by plain writes.
    Private,
    /// Everybody.
    Reachable,
    /// Readers who came before it was unlinked.
    Detached,
}

struct Table {
    level: usize,
    state: State,
    /// What it holds, as far as it was told: accessed and dirty apart.
    words: Vec<u64>,
    /// Who has changed it and not closed it yet.
    open: Option<ThreadId>,
}

#[derive(Default)]
struct Copies {
    tables: HashMap<u64, Table>,
    wrong: Vec<String>,
    changes: u64,
}

/// The backend.
pub struct Mirror<F> {
    /// Where frame 0 is.
    memory: OnceLock<usize>,
    copies: Mutex<Copies>,
    format: PhantomData<F>,
}

impl<F: Format> Mirror<F> {
    pub fn new() -> Self {
        let (memory, copies) = (OnceLock::new(), Mutex::default());
        Mirror { memory, copies, format: PhantomData }
    }

    /// Where frame 0 is.
    pub fn learn(&self, memory: *mut u8) {
        self.memory.set(memory as usize).unwrap();
    }

    /// The table becomes a root that CPUs may load: from now on it is everybody's.
    pub fn load_root(&self, root: Frame) {
        self.adopt(&mut self.lock(), root, F::ROOT_LEVEL);
    }

    /// Ends the test if anything did not agree.
    pub fn assert_in_step(&self) {
        let mut copies = self.lock();
        let open = |(frame, table): (&u64, &Table)| table.open.is_some().then_some(*frame);
        let open: Vec<u64> = copies.tables.iter().filter_map(open).collect();
        let wrong = std::mem::take(&mut copies.wrong);
        drop(copies);
        assert_eq!(wrong, [""; 0]);
        assert_eq!(open, [0; 0], "tables were changed and not closed");
    }

    /// How many changes there were, and how many tables there are.
    pub fn counts(&self) -> (u64, usize) {
        let copies = self.lock();
        (copies.changes, copies.tables.len())
    }

    fn lock(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap()
    }

    /// The table's memory.
    fn words(&self, table: Frame, level: usize) -> &[F::Cell] {
        let at = self.memory.get().unwrap() + ((table.0 as usize) << F::PAGE_SHIFT);
        // SAFETY: the frame is a table of the platform's memory, reached as atomics.
        unsafe { std::slice::from_raw_parts(at as *const F::Cell, F::entries(level)) }
    }

    /// Copies a table that is attached now, and all below it; or it was unlinked and goes elsewhere.
    fn adopt(&self, copies: &mut Copies, frame: Frame, level: usize) {
        let words: Vec<u64> =
            self.words(frame, level).iter().map(|word| word.load(Ordering::Acquire)).collect();
        match copies.tables.get_mut(&frame.0) {
            Some(table) if table.state == State::Private && table.level == level => {
                (table.state, table.words) = (State::Reachable, words.clone());
            }
            // Moved: it is what it was.
            Some(table) if table.state == State::Detached && table.level == level => {
                table.state = State::Reachable;
                if !table.words.iter().zip(&words).all(|(old, new)| same::<F>(level, *old, *new)) {
                    copies.wrong.push(format!("{frame:?} changed while it moved"));
                }
            }
            _ => return copies.wrong.push(format!("{frame:?} attached, and no fresh table")),
        }
        for (index, word) in words.into_iter().enumerate() {
            if let Some(child) = child::<F>(level, index, word) {
                self.adopt(copies, child, level - 1);
            }
        }
    }

    /// A table was unlinked, with all below it. Its words stay for who is inside.
    fn detach(copies: &mut Copies, frame: Frame) {
        let Some(table) = copies.tables.get_mut(&frame.0) else { return };
        table.state = State::Detached;
        let (level, words) = (table.level, table.words.clone());
        for (index, word) in words.into_iter().enumerate() {
            if let Some(child) = child::<F>(level, index, word) {
                Self::detach(copies, child);
            }
        }
    }

    /// An entry was changed from `old` to `new`.
    fn changed<C: Cell>(&self, copies: &mut Copies, slot: Slot<'_, C>, old: u64, new: u64) {
        copies.changes += 1;
        let wrong = &mut copies.wrong;
        let Some(table) = copies.tables.get_mut(&slot.table.0) else {
            return wrong.push(format!("{:?} changed, and no table", slot.table));
        };
        if table.state == State::Private {
            return;
        }
        let copy = std::mem::replace(&mut table.words[slot.index], new);
        if table.state == State::Detached || !same::<F>(slot.level, copy, old) {
            wrong.push(format!("{:?}: {copy:#x} became {old:#x} untold", slot.table));
        }
        // Accessed and dirty are set without the lock, and no backend queues them.
        if !same::<F>(slot.level, old, new) {
            let me = thread::current().id();
            if table.open.replace(me).is_some_and(|other| other != me) {
                wrong.push(format!("{:?} was unlocked before it was closed", slot.table));
            }
        }
        if let Some(child) = child::<F>(slot.level, slot.index, old) {
            Self::detach(copies, child);
        }
        if let Some(child) = child::<F>(slot.level, slot.index, new) {
            self.adopt(copies, child, slot.level - 1);
        }
    }

    /// What hardware does at the worst instant: an access that the entry allows.
    fn interfere<C: Cell>(&self, copies: &Copies, slot: Slot<'_, C>) {
        let word = slot.cell.load(Ordering::Relaxed);
        if let Entry::Leaf(leaf) = F::decode(slot.level, word)
            && copies.changes.is_multiple_of(3)
            && leaf.rights.intersects(Rights::READ | Rights::WRITE | Rights::EXECUTE)
        {
            let touched = F::touched(slot.level, word, leaf.rights.contains(Rights::WRITE));
            let _ = slot.cell.compare_exchange(word, touched);
        }
    }
}

/// The child that a word names; tables of the kernel's half are not the library's.
fn child<F: Format>(level: usize, index: usize, word: u64) -> Option<Frame> {
    match F::decode(level, word) {
        Entry::Table(_) if level == F::ROOT_LEVEL && F::KERNEL_SLOTS.contains(&index) => None,
        Entry::Table(child) => Some(child),
        _ => None,
    }
}

/// Whether two words say the same, accessed and dirty apart.
fn same<F: Format>(level: usize, one: u64, two: u64) -> bool {
    match (F::decode(level, one), F::decode(level, two)) {
        (Entry::Leaf(one), Entry::Leaf(two)) => one.frame == two.frame && one.rights == two.rights,
        (Entry::Table(one), Entry::Table(two)) => one == two,
        _ => one == two,
    }
}

impl<F: Format> Backend for Mirror<F> {
    fn prepare_table(&self, table: Frame, level: usize) -> Result<(), NoTable> {
        let mut copies = self.lock();
        if self.words(table, level).iter().any(|word| word.load(Ordering::Relaxed) != 0) {
            copies.wrong.push(format!("{table:?} prepared, and not zeroed"));
        }
        let fresh = Table { level, state: State::Private, words: Vec::new(), open: None };
        if copies.tables.insert(table.0, fresh).is_some() {
            copies.wrong.push(format!("{table:?} prepared, and a table already"));
        }
        Ok(())
    }

    fn release_table(&self, table: Frame) {
        let mut copies = self.lock();
        match copies.tables.remove(&table.0) {
            // A root is not unlinked: it ends.
            Some(gone) if gone.state != State::Reachable || gone.level == F::ROOT_LEVEL => {}
            _ => copies.wrong.push(format!("{table:?} released, and attached or no table")),
        }
    }

    fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64> {
        let mut copies = self.lock();
        self.interfere(&copies, slot);
        Native.compare_exchange(slot, old, new)?;
        self.changed(&mut copies, slot, old, new);
        Ok(())
    }

    fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64 {
        let mut copies = self.lock();
        self.interfere(&copies, slot);
        let old = Native.swap(slot, new);
        self.changed(&mut copies, slot, old, new);
        old
    }

    fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64 {
        Native.clear_accessed(slot, mask)
    }

    fn close(&self, frame: Frame) {
        // The lock's holder loses its processor: who else wants the lock finds it taken.
        thread::yield_now();
        let mut copies = self.lock();
        let Some(table) = copies.tables.get_mut(&frame.0) else {
            return copies.wrong.push(format!("{frame:?} closed, and no table"));
        };
        table.open = None;
        if table.state == State::Private {
            return;
        }
        let level = table.level;
        for (index, copy) in table.words.iter().enumerate() {
            let found = self.words(frame, level)[index].load(Ordering::Acquire);
            if !same::<F>(level, *copy, found) {
                let wrong = format!("{frame:?}, slot {index}: {copy:#x} is {found:#x}");
                return copies.wrong.push(wrong);
            }
        }
    }
}
