//! A guest of a few lines: loads and stores by a hart over a space of the library, with faults.

#![allow(dead_code)] // each test file uses a part

use std::sync::atomic::{AtomicU64, Ordering};
use vmspace::format::{Format, Rights};
use vmspace::{Access, MaySleep, Space, Vm};
use vmspace_machine::{Config, HartContext, MachinePlatform, TlbTraits, Violation};

pub const RW: Rights = Rights::READ.union(Rights::WRITE);

/// A manager over a machine of 64 MiB.
pub fn machine<F: Format>(harts: usize, tlb: TlbTraits, check: bool) -> Vm<MachinePlatform<F>> {
    let config = Config { memory: 64 << 20, harts, tlb, check, ..Config::default() };
    let machine = MachinePlatform::new(config).unwrap();
    let frames = machine.frames();
    Vm::new(machine, frames).unwrap()
}

/// A hart and what it needs to fault.
pub struct Guest<'vm, F: Format> {
    pub hart: HartContext<'vm, Vm<MachinePlatform<F>>>,
    ms: MaySleep,
}

type SpaceOf<'vm, F> = Space<'vm, MachinePlatform<F>>;

impl<'vm, F: Format> Guest<'vm, F> {
    pub fn new(vm: &'vm Vm<MachinePlatform<F>>, index: usize) -> Guest<'vm, F> {
        let hart = HartContext::new(vm, index).unwrap();
        // SAFETY: the library is called by this thread between two stays inside, with nothing
        // held; a test's second token is not in use at the same time.
        Guest { hart, ms: unsafe { MaySleep::assume() } }
    }

    /// One access as hardware and kernel make it together: translate, else fault and again.
    fn access<R>(
        &mut self,
        space: &SpaceOf<'_, F>,
        address: u64,
        access: Access,
        use_it: impl Fn(&AtomicU64) -> R,
    ) -> Result<Option<R>, Box<Violation>> {
        loop {
            self.hart.load(space);
            let done = self.hart.inside(|_, mmu| {
                let host = mmu.translate(address, access).ok()?;
                // SAFETY: in the machine's memory, aligned as the address is, reached as an atomic
                // by all; used before the next answer.
                Some(use_it(unsafe { &*host.cast::<AtomicU64>() }))
            })?;
            if done.is_some() {
                return Ok(done);
            }
            if space.fault(&mut self.ms, address, access).is_err() {
                return Ok(None);
            }
        }
    }

    /// The word at an address; none when the space refuses.
    pub fn load(
        &mut self,
        space: &SpaceOf<'_, F>,
        address: u64,
    ) -> Result<Option<u64>, Box<Violation>> {
        self.access(space, address, Access::Read, |word| word.load(Ordering::Relaxed))
    }

    /// Writes the word at an address; whether the space let it.
    pub fn store(
        &mut self,
        space: &SpaceOf<'_, F>,
        address: u64,
        value: u64,
    ) -> Result<bool, Box<Violation>> {
        let store = |word: &AtomicU64| word.store(value, Ordering::Relaxed);
        Ok(self.access(space, address, Access::Write, store)?.is_some())
    }
}
