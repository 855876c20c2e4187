//! The kernel's half of every root.
//!
//! Guarantee: a kernel table that has been added is visible through every root that any CPU has
//! loaded or will ever load. Adding it and the walk over all roots, and the copying of all slots
//! into a new root and its joining the registry, are each one step under the registry's lock, so
//! no root can be missed between two lists or before it is published (R03 to R06).
//!
//! A slot goes from empty to full once and stays: tables of the kernel's half are never freed, so
//! nothing that a CPU has cached of them can become wrong (R10).
//!
//! Formats whose kernel has a root of its own have no such slots.

use crate::addr::Frame;
use crate::backend::{Backend, Slot};
use crate::cell::Cell;
use crate::format::{Format, Geometry};
use crate::platform::Platform;
use crate::sync::Ordering;
use crate::vm::Vm;

/// Why a kernel table was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelSlotError {
    /// The slot is the user's, or beyond the table.
    NotKernel,
    /// The slot has a table already.
    Full,
}

fn slots<P: Platform>(vm: &Vm<P>, root: Frame) -> &[<P::Format as Format>::Cell] {
    vm.table_cells(root, P::Format::entries(P::Format::ROOT_LEVEL))
}

impl<P: Platform> Vm<P> {
    /// Adds `table` in slot `index` of every root, those to come included.
    ///
    /// # Errors
    /// [`KernelSlotError`]; then nothing has changed.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<X86_64>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let kernels = X86_64::KERNEL_SLOTS.start; // 256: the upper half
    /// let table = Frame(1 << 20); // one of the kernel's own
    /// assert_eq!(vm.add_kernel_table(kernels, table), Ok(()));
    /// assert_eq!(vm.add_kernel_table(0, table), Err(KernelSlotError::NotKernel));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_kernel_table(&self, index: usize, table: Frame) -> Result<(), KernelSlotError> {
        if !P::Format::KERNEL_SLOTS.contains(&index) {
            return Err(KernelSlotError::NotKernel);
        }
        let word = P::Format::table(P::Format::ROOT_LEVEL, table);
        let reference = &slots(self, self.kernel_root())[index];
        let added = self.for_each_space(
            || reference.compare_exchange(0, word).is_ok(),
            |space| {
                let root = Frame(self.header(space).root.load(Ordering::Relaxed));
                let slot = &slots(self, root)[index];
                let level = P::Format::ROOT_LEVEL;
                self.backend().swap(Slot { cell: slot, table: root, index, level }, word);
                // The registry's lock is what these slots have: nothing stays queued beyond it.
                self.backend().close(root);
            },
        );
        if added { Ok(()) } else { Err(KernelSlotError::Full) }
    }

    /// Copies the kernel's slots into a root that nobody has loaded; part of its publication.
    pub(crate) fn copy_kernel_half(&self, root: Frame) {
        let (from, to) = (slots(self, self.kernel_root()), slots(self, root));
        for index in P::Format::KERNEL_SLOTS {
            to[index].fill(from[index].load(Ordering::Relaxed));
        }
    }
}
