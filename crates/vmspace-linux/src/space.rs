//! A space of a program, which the harts forget before it ends.

use std::ops::Deref;

use vmspace::format::Format;
use vmspace::{Error, MaySleep, Vm};
use vmspace_machine::MachinePlatform;

/// Where a program's own parts lie, in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Marks {
    /// Where the heap begins.
    pub heap: u64,
    /// The stack pointer at the start.
    pub stack: u64,
    /// The arguments' strings: their start and end.
    pub arguments: (u64, u64),
}

/// The library's space on the machine. Threads share it; the last one to go ends it.
pub(crate) struct Space<'vm, F: Format> {
    space: vmspace::Space<'vm, MachinePlatform<F>>,
    vm: &'vm Vm<MachinePlatform<F>>,
    pub marks: Marks,
}

impl<'vm, F: Format> Space<'vm, F> {
    pub fn new(vm: &'vm Vm<MachinePlatform<F>>, ms: &mut MaySleep) -> Result<Self, Error> {
        Ok(Space { space: vmspace::Space::new(vm, ms)?, vm, marks: Marks::default() })
    }

    /// A copy-on-write copy.
    pub fn fork(&self, ms: &mut MaySleep) -> Result<Self, Error> {
        Ok(Space { space: self.space.fork(ms)?, vm: self.vm, marks: self.marks })
    }
}

impl<'vm, F: Format> Deref for Space<'vm, F> {
    type Target = vmspace::Space<'vm, MachinePlatform<F>>;

    fn deref(&self) -> &Self::Target {
        &self.space
    }
}

impl<F: Format> Drop for Space<'_, F> {
    fn drop(&mut self) {
        // Threads are gone, so nobody loads it again; the library ends it after this.
        self.vm.platform().forget_space(self.space.id());
    }
}
