//! A hart's unit as the interpreter sees it.

use crate::mmu::{Manager, Mmu};
use crate::riscv::{Access, Bus, Trap};

impl From<Access> for vmspace::Access {
    #[inline(always)]
    fn from(access: Access) -> vmspace::Access {
        match access {
            Access::Read => vmspace::Access::Read,
            Access::Write => vmspace::Access::Write,
            Access::Execute => vmspace::Access::Execute,
        }
    }
}

impl<V: Manager> Bus for Mmu<'_, V> {
    #[inline(always)]
    fn hit(&mut self, va: u64, access: Access, size: u64) -> Option<*mut u8> {
        Mmu::hit(self, va, access.into(), size)
    }

    fn translate(&mut self, va: u64, access: Access) -> Result<*mut u8, Trap> {
        Mmu::translate(self, va, access.into()).map_err(|_| Trap { va, access })
    }

    #[inline(always)]
    fn pending(&self) -> bool {
        self.port().door.is_pending()
    }

    fn poll(&mut self) -> bool {
        if !self.postpones() {
            self.answer();
        }
        self.port().take_kick()
    }

    #[inline(always)]
    fn code_epoch(&self) -> u64 {
        Mmu::code_epoch(self)
    }

    fn time(&mut self) -> u64 {
        self.ticks()
    }
}
