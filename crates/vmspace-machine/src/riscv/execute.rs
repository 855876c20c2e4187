//! The run: control is brought to an operation, and operations hand it on to one another.
//!
//! Guarantee: an operation either takes effect whole and is counted, or ends the run with `pc` at
//! it.
//!
//! Mechanism: each code has a function ([`super::handlers`]) that does its work and calls the
//! function of the operation that follows, so each has an indirect jump of its own, which the host
//! predicts by itself. Compilers make these calls jumps when they optimise; nothing relies on it,
//! since control comes back to [`Hart::execute`] after [`SLICE`] operations and what is left of a
//! page, which bounds the stack.
//!
//! What the functions pass on is a [`Step`], in registers; what they rarely need is in [`Run`].
//! Operations are walked by a bare pointer, which [`super::page`] promises never runs off them.
//! `ip - origin` is eight times the number of retired instructions of the run: every jump moves
//! `origin` along with `ip`, less the one operation that it is itself.

use super::cache::{Cache, base_of};
use super::handlers::{Handler, Table};
use super::memory::{Refusal, Reservation};
use super::op::{File, Op};
use super::{Bus, Exit, Hart, Trap};

/// The size of an operation, in the unit of `ip` and `origin`.
pub(super) const STEP: isize = size_of::<Op>() as isize;

/// Retired instructions after which the next taken branch comes back to the loop, in the unit of
/// `ip`: few where calls are calls.
const SLICE: isize = STEP * if cfg!(debug_assertions) { 64 } else { 2048 };

/// What a run needs beside what operations pass on.
pub(super) struct Run<'h> {
    pub cache: &'h mut Cache,
    pub fcsr: &'h mut u32,
    pub reservation: &'h mut Option<Reservation>,
    /// Instructions retired before this run.
    pub before: u64,
    /// The page that control is in.
    pub base: u64,
    /// What may be retired, in the unit of `ip`, before control comes back.
    until: isize,
    /// Where control is when it has come back, and how much was retired by then.
    pc: u64,
    spent: isize,
    /// Why the run is over, if it is.
    pub exit: Option<Exit>,
}

/// Control at an operation.
pub(super) struct Step<'s, 'h, B> {
    pub run: &'s mut Run<'h>,
    pub x: &'s mut File,
    pub ip: *const Op,
    pub origin: isize,
    pub table: &'s Table<B>,
    pub bus: &'s mut B,
}

impl Hart {
    /// Run with the registers in `file`.
    pub(super) fn execute<B: Bus>(&mut self, bus: &mut B, quota: u64) -> Exit {
        let Hart { regs, file, cache, reservation, retired } = self;
        let limit = isize::try_from(quota.max(1)).unwrap_or(isize::MAX).saturating_mul(STEP);
        let table = &Table::<B>::ALL;
        let (fcsr, before) = (&mut regs.fcsr, *retired);
        let pc = regs.pc & !1;
        let (base, until, spent, exit) = (0, 0, 0, None);
        let mut run = Run { cache, fcsr, reservation, before, base, until, pc, spent, exit };
        let exit = loop {
            if let Some(exit) = run.exit.take() {
                break exit;
            }
            if bus.pending() && bus.poll() {
                break Exit::Pending;
            }
            if run.spent >= limit {
                break Exit::Quota;
            }
            run.cache.observe(bus.code_epoch());
            run.until = limit.min(run.spent.saturating_add(SLICE));
            let ip = match run.cache.find(run.pc) {
                Some(ip) => ip,
                None => match run.cache.enter(bus, run.pc) {
                    Ok(ip) => ip,
                    Err(trap) => break trap.into(),
                },
            };
            run.base = base_of(run.pc);
            let origin = ip.addr() as isize - run.spent;
            Step { run: &mut run, x: file, ip, origin, table, bus }.dispatch();
        };
        *retired = before.wrapping_add((run.spent / STEP) as u64);
        regs.pc = run.pc;
        exit
    }
}

impl<B: Bus> Step<'_, '_, B> {
    /// The operation that control is at.
    #[inline(always)]
    pub fn op(&self) -> Op {
        // SAFETY: `ip` points at an operation of a page in the cache: `find`, `enter` and `cross`
        // give such pointers, distances lead to others in the same page, and only operations that
        // fall through are stepped over, with which a stream does not end. The page is neither
        // changed nor dropped while control is in it, but by `cross`, which gives the new pointer.
        unsafe { *self.ip }
    }

    /// To the next operation; this one falls through.
    #[inline(always)]
    pub fn advance(&mut self) {
        self.ip = self.ip.wrapping_add(1);
    }

    /// Does the operation that control is at, and what follows.
    #[inline(always)]
    pub fn dispatch(self) {
        let handler = self.table.of(self.op().code);
        self.pass_to(handler);
    }

    /// Hands control to `handler`.
    #[inline(always)]
    pub fn pass_to(self, handler: Handler<B>) {
        handler(self.run, self.x, self.ip, self.origin, self.table, self.bus);
    }

    /// What was retired when control is at `ip` and `retired` operations behind it are done.
    #[inline(always)]
    fn spent(&self, retired: isize) -> isize {
        self.ip.addr() as isize - self.origin + retired * STEP
    }

    /// To the operation that is `distance` away in this page, `retired` of this one being retired.
    #[inline(always)]
    pub fn jump(mut self, distance: i32, retired: isize) {
        let distance = distance as isize;
        self.ip = self.ip.wrapping_byte_offset(distance);
        self.origin += distance - retired * STEP;
        if self.bus.pending() || self.spent(0) >= self.run.until {
            return self.come_back();
        }
        self.dispatch();
    }

    /// To `pc`, anywhere, `retired` of this operation being retired.
    #[inline(always)]
    pub fn leave(mut self, pc: u64, retired: isize) {
        let spent = self.spent(retired);
        if !self.bus.pending()
            && spent < self.run.until
            && let Some(ip) = self.run.cache.find(pc)
        {
            self.run.base = base_of(pc);
            self.ip = ip;
            self.origin = ip.addr() as isize - spent;
            return self.dispatch();
        }
        (self.run.pc, self.run.spent) = (pc, spent);
    }

    /// Back to the loop, at the operation that control is at.
    #[inline(always)]
    pub fn come_back(self) {
        self.run.come_back(self.ip, self.origin);
    }

    /// The run ends at this operation.
    #[inline(always)]
    pub fn stop(self, exit: impl Into<Exit>) {
        self.run.exit = Some(exit.into());
        self.come_back();
    }
}

impl Run<'_> {
    #[cold]
    #[inline(never)]
    fn come_back(&mut self, ip: *const Op, origin: isize) {
        self.pc = self.cache.pc_of(self.base, ip);
        self.spent = ip.addr() as isize - origin;
    }

    /// Notes that the run ends at `ip`: there is no such instruction of four bytes. Gives false.
    #[inline(never)]
    pub fn refuse(&mut self, ip: *const Op) -> bool {
        let pc = self.cache.pc_of(self.base, ip);
        self.exit = Some(Exit::Illegal { pc, bits: self.cache.bits_of(self.base, ip) });
        false
    }

    /// Whether it succeeded; if not, why the run ends is noted.
    pub fn attempt(&mut self, result: Result<(), impl Into<Exit>>) -> bool {
        self.exit = result.err().map(Into::into);
        self.exit.is_none()
    }
}

impl From<Trap> for Exit {
    fn from(trap: Trap) -> Self {
        Exit::Fault { va: trap.va, access: trap.access }
    }
}

impl From<Refusal> for Exit {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Trap(trap) => trap.into(),
            Refusal::Misaligned(va) => Exit::Misaligned { va },
        }
    }
}
