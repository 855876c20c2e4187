//! Hardware writes an entry between the library's look at it and its change.

use super::{PAGE, RW, plant};
use crate::machine::{Machine, on_cpu, translation};
use std::sync::atomic::{AtomicBool, Ordering};
use vmspace::backend::NoTable;
use vmspace::format::{Entry, Format, Rights, Sv48};
use vmspace::{Access, Backend, Cell, Frame, Map, Native, Platform, Slot, Space};

/// The native backend, beside an MMU that once sets the dirty bit of an entry just before it is
/// changed.
#[derive(Default)]
struct Writing {
    armed: AtomicBool,
}

impl Writing {
    fn strike<C: Cell>(&self, slot: Slot<'_, C>) {
        let word = slot.cell.load(Ordering::Relaxed);
        if let Entry::Leaf(_) = Sv48::decode(slot.level, word)
            && self.armed.swap(false, Ordering::Relaxed)
        {
            Native.compare_exchange(slot, word, Sv48::touched(slot.level, word, true)).unwrap();
        }
    }
}

impl Backend for Writing {
    fn prepare_table(&self, table: Frame, level: usize) -> Result<(), NoTable> {
        Native.prepare_table(table, level)
    }

    fn release_table(&self, table: Frame) {
        Native.release_table(table);
    }

    fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64> {
        self.strike(slot);
        Native.compare_exchange(slot, old, new)
    }

    fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64 {
        self.strike(slot);
        Native.swap(slot, new)
    }

    fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64 {
        self.strike(slot);
        Native.clear_accessed(slot, mask)
    }

    fn close(&self, table: Frame) {
        Native.close(table);
    }
}

#[test]
fn a_store_over_the_hardware_dirty_bit_loses_it() {
    plant();
    let vm = Machine::with_backend(Writing::default());
    on_cpu(0, |ms| {
        let space = Space::new(&vm, ms).unwrap();
        // Shared memory that was only read is writable, and clean.
        let at = space.map(ms, Map::anonymous(PAGE, RW).shared()).unwrap();
        space.fault(ms, at, Access::Read).unwrap();
        let before = translation(&space, ms, at).unwrap();
        assert!(before.rights.contains(Rights::WRITE) && !before.dirty);
        vm.platform().backend().armed.store(true, Ordering::Relaxed);
        space.protect(ms, at, PAGE, Rights::READ).unwrap();
        let after = translation(&space, ms, at).unwrap();
        assert!(after.dirty, "the page was written before the store to its entry");
    });
}

#[test]
fn looking_at_a_page_by_load_and_store_loses_its_dirty_bit() {
    plant();
    let vm = Machine::with_backend(Writing::default());
    on_cpu(0, |ms| {
        let space = Space::new(&vm, ms).unwrap();
        let at = space.map(ms, Map::anonymous(PAGE, RW).shared()).unwrap();
        space.fault(ms, at, Access::Read).unwrap();
        vm.platform().backend().armed.store(true, Ordering::Relaxed);
        vm.age(ms);
        let after = translation(&space, ms, at).unwrap();
        assert!(after.dirty, "the page was written while it was looked at");
    });
}
