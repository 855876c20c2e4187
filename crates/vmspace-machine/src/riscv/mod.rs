//! A hart: an interpreter of RV64GC user mode over somebody else's memory.
//!
//! Guarantee: exactly RISC-V's behaviour for anything that a guest can do, wild jumps, overlapping
//! instructions and code that rewrites itself included. A run ends with the registers as they were
//! before the instruction that it names, which had no effect: every fault can be repaired and the
//! run resumed.
//!
//! Mechanism: [`page`] decodes code once into rows of operations ([`op`]), each with the function
//! that does it ([`handlers`]) and perhaps its neighbours too ([`fuse`]); [`cache`] remembers pages
//! and compares them with memory again when a translation may have been dropped; [`execute`] brings
//! control to an operation, and operations hand it on to one another. Retired instructions are
//! counted by the distance that control has walked. `quota` and [`Bus::pending`]
//! are looked at when a branch is taken or a page left, so a run overshoots its quota by at most
//! one stretch without taken branches; that is bounded by a page, and the same in every replay.
//! [`memory`] has loads, stores, and atomics, which are host atomics.
//!
//! Floating point is exact, flags and all five rounding modes: [`float`] unpacks to sign, exponent
//! and an integer significand, computes exactly in 128 bits or with a sticky bit far below the
//! rounding point, and rounds once in one place, which finds tininess after rounding. The host's
//! own operation is used in its stead only when it must agree: rounding to nearest even, the
//! inexact flag set already, and a result so far inside the normal range that neither underflow,
//! overflow nor a NaN is possible; then IEEE 754 leaves the host no choice.

mod cache;
mod code;
mod compressed;
mod csr;
mod decode;
mod execute;
mod float;
mod fuse;
mod handlers;
mod integer;
mod memory;
mod op;
mod page;
#[cfg(test)]
mod tests;

use execute::Core;
use op::F0;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A load, or the load part of a load-reserved.
    Read,
    /// A store, or any atomic operation that may write.
    Write,
    /// An instruction fetch.
    Execute,
}

/// A translation was refused: a page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trap {
    /// The address that could not be accessed.
    pub va: u64,
    /// How it was to be accessed.
    pub access: Access,
}

/// What the hart sees as memory, and as the rest of the machine.
pub trait Bus {
    /// A host pointer for an access to `va`, valid from `va` to the end of its 4 KiB until the next
    /// [`Bus::poll`].
    ///
    /// The memory is accessed by host atomics only; the pointer is as aligned as `va`.
    /// Implementations are trusted: the hart reads and writes through what they return.
    fn translate(&mut self, va: u64, access: Access) -> Result<*mut u8, Trap>;

    /// The same for an access that is aligned to its size, a power of two, if the answer is at
    /// hand; none says nothing. Every load and store asks here first, inline.
    fn hit(&mut self, va: u64, access: Access, size: u64) -> Option<*mut u8>;

    /// Is there something that [`Bus::poll`] should serve? Asked at taken branches.
    fn pending(&self) -> bool;

    /// Serve what is pending, shootdowns among it. Gives true if the run must end.
    fn poll(&mut self) -> bool;

    /// A number that changes whenever an execute translation may have been dropped or replaced.
    fn code_epoch(&self) -> u64;

    /// The time CSR.
    fn time(&mut self) -> u64;
}

/// The registers of a thread: what the scheduler saves and loads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// The integer registers; x0 is zero whatever is put here.
    pub x: [u64; 32],
    /// The floating-point registers; a single is boxed in ones.
    pub f: [u64; 32],
    /// The program counter.
    pub pc: u64,
    /// Rounding mode (bits 5–7) and accrued exceptions (bits 0–4).
    pub fcsr: u32,
}

/// Why a run ended. Where an instruction is concerned, `pc` is at it and it had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// `ecall`; the caller adds 4 to `pc`.
    Ecall,
    /// `ebreak`, of either length.
    Breakpoint,
    /// An instruction that does not exist, or whose rounding mode or CSR does not.
    Illegal {
        /// Where it is.
        pc: u64,
        /// Its encoding; 16 bits if it is a compressed one.
        bits: u32,
    },
    /// A page fault.
    Fault {
        /// The address that could not be accessed; for a fetch it may lie in the page behind `pc`.
        va: u64,
        /// How it was to be accessed.
        access: Access,
    },
    /// An atomic operation on an address that is not a multiple of its size.
    Misaligned {
        /// The address.
        va: u64,
    },
    /// The quota is used up.
    Quota,
    /// The bus asked for the run to end.
    Pending,
}

/// A hart. [`Hart::regs`] is its architectural state between runs; everything else is cache.
pub struct Hart<B> {
    /// The registers, as the last run left them and the next will take them.
    pub regs: Registers,
    core: Box<Core<B>>,
}

impl<B: Bus> Default for Hart<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Bus> Hart<B> {
    /// A hart with all registers zero and nothing decoded.
    pub fn new() -> Self {
        Hart { regs: Registers::default(), core: Core::new() }
    }

    /// Execute from `regs.pc` until something other than computing has to be done.
    ///
    /// At least one instruction is attempted, whatever the quota. The reservation survives `Quota`
    /// and `Pending`, and is lost in every other exit.
    pub fn run(&mut self, bus: &mut B, quota: u64) -> Exit {
        self.load_registers();
        let exit = self.core.execute(bus, quota.max(1));
        self.save_registers();
        if !matches!(exit, Exit::Quota | Exit::Pending) {
            self.core.reservation = None;
        }
        exit
    }

    /// How many instructions have been retired in all runs.
    pub fn retired(&self) -> u64 {
        self.core.retired
    }

    /// Compare all decoded code with memory before it is executed again: for `fence.i` and switches
    /// of space.
    pub fn forget_code(&mut self) {
        self.core.cache.forget();
    }

    /// Lose the reservation of a load-reserved: for context switches.
    pub fn clear_reservation(&mut self) {
        self.core.reservation = None;
    }

    fn load_registers(&mut self) {
        let (f0, Registers { x, f, pc, fcsr }) = (usize::from(F0), &self.regs);
        self.core.x[..f0].copy_from_slice(x);
        self.core.x[f0..2 * f0].copy_from_slice(f);
        self.core.x[0] = 0;
        (self.core.pc, self.core.fcsr) = (*pc, *fcsr);
    }

    fn save_registers(&mut self) {
        let (f0, core) = (usize::from(F0), &self.core);
        self.regs.x.copy_from_slice(&core.x[..f0]);
        self.regs.f.copy_from_slice(&core.x[f0..2 * f0]);
        (self.regs.pc, self.regs.fcsr) = (core.pc, core.fcsr);
    }
}
