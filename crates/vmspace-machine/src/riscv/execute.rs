//! The run: control is brought to an operation, and operations hand it on to one another.
//!
//! Guarantee: an operation either takes effect whole and is counted, or ends the run with `pc` at
//! it.
//!
//! Mechanism: each code has a function ([`super::handlers`]) that does its work and calls the
//! function of the operation that follows, so each has an indirect jump of its own, which the host
//! predicts by itself. Compilers make these calls jumps when they optimise. They need not make all
//! of them: control comes back to [`Core::execute`] after [`SLICE`] operations and what is left of
//! a page, which bounds the stack. Where they make none, in builds with debug assertions, control
//! comes back after each operation.
//!
//! What the functions pass on is a [`Step`], in registers; guest registers are in [`Core`].
//! Operations are walked by a bare pointer, which [`super::page`] promises never runs off them.
//! `bound - ip` is [`STEP`] times the number of instructions that may be retired before control comes
//! back: every jump moves `bound` along with `ip`, less the one operation that it is itself.

use super::cache::{Cache, base_of};
use super::handlers::Handler;
use super::memory::{Refusal, Reservation};
use super::op::{File, Op};
use super::page::{STEP, Threaded};
use super::{Bus, Exit, Trap};

/// Retired instructions after which the next taken branch comes back to the loop, in the unit of
/// `ip`.
const SLICE: isize = STEP * 2048;

/// Whether calls are jumps.
const THREADED: bool = !cfg!(debug_assertions);

/// What runs: registers, decoded code, and where control is while it is in the loop.
pub(super) struct Core<B> {
    pub x: File,
    pub fcsr: u32,
    pub pc: u64,
    pub cache: Cache<B>,
    pub reservation: Option<Reservation>,
    /// Instructions retired before this run.
    pub retired: u64,
    /// The page that control is in.
    pub base: u64,
    /// What was retired in this run when control came back, and may be before it does, in the unit
    /// of `ip`.
    spent: isize,
    until: isize,
    /// Why the run is over, if it is.
    pub exit: Option<Exit>,
    /// Where calls are calls: the operation that is next, and its bound.
    next: Option<(*const Threaded<B>, isize)>,
}

/// Control at an operation.
pub(super) struct Step<'s, B> {
    pub core: &'s mut Core<B>,
    pub ip: *const Threaded<B>,
    /// Where `ip` must come back.
    pub bound: isize,
    pub bus: &'s mut B,
}

impl<B: Bus> Core<B> {
    pub fn new() -> Box<Core<B>> {
        Box::new(Core {
            x: [0; 256],
            fcsr: 0,
            pc: 0,
            cache: Cache::new(),
            reservation: None,
            retired: 0,
            base: 0,
            spent: 0,
            until: 0,
            exit: None,
            next: None,
        })
    }

    /// Runs from `pc`; the quota is at least one.
    pub fn execute(&mut self, bus: &mut B, quota: u64) -> Exit {
        let limit = isize::try_from(quota).unwrap_or(isize::MAX).saturating_mul(STEP);
        self.pc &= !1;
        self.spent = 0;
        let exit = loop {
            if let Some(exit) = self.exit.take() {
                break exit;
            }
            if bus.pending() && bus.poll() {
                break Exit::Pending;
            }
            if self.spent >= limit {
                break Exit::Quota;
            }
            self.cache.observe(bus.code_epoch());
            self.until = limit.min(self.spent.saturating_add(SLICE));
            let ip = match self.cache.find(self.pc) {
                Some(ip) => ip,
                None => match self.cache.enter(bus, self.pc) {
                    Ok(ip) => ip,
                    Err(trap) => break trap.into(),
                },
            };
            self.base = base_of(self.pc);
            let bound = ip.addr() as isize + self.until - self.spent;
            Step { core: self, ip, bound, bus }.dispatch();
            while let Some((ip, bound)) = self.next.take() {
                Step { core: self, ip, bound, bus }.perform();
            }
        };
        self.retired = self.retired.wrapping_add((self.spent / STEP) as u64);
        exit
    }

    #[cold]
    #[inline(never)]
    fn come_back(&mut self, ip: *const Threaded<B>, bound: isize) {
        self.pc = self.cache.pc_of(self.base, ip);
        self.spent = self.until - (bound - ip.addr() as isize);
    }

    /// Notes that the run ends at `ip`: there is no such instruction of four bytes. Gives false.
    #[inline(never)]
    pub fn refuse(&mut self, ip: *const Threaded<B>) -> bool {
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

impl<'s, B: Bus> Step<'s, B> {
    /// The operation that control is at.
    #[inline(always)]
    pub fn op(&self) -> &'s Op {
        &self.threaded().op
    }

    #[inline(always)]
    fn threaded(&self) -> &'s Threaded<B> {
        // SAFETY: `ip` points at an operation of a page in the cache: `find`, `enter` and `cross`
        // give such pointers, distances lead to others in the same page, and only operations that
        // fall through are stepped over, with which a stream does not end. The page is neither
        // changed nor dropped while control is in it, but by `cross`, which gives the new pointer.
        unsafe { &*self.ip }
    }

    /// To the next operation; this one falls through.
    #[inline(always)]
    pub fn advance(&mut self) {
        self.ip = self.ip.wrapping_add(1);
    }

    /// Does the operation that control is at, and what follows.
    #[inline(always)]
    pub fn dispatch(self) {
        if THREADED {
            self.perform();
        } else {
            self.core.next = Some((self.ip, self.bound));
        }
    }

    #[inline(always)]
    fn perform(self) {
        let handler = self.threaded().handler;
        self.pass_to(handler);
    }

    /// Hands control to `handler`.
    #[inline(always)]
    pub fn pass_to(self, handler: Handler<B>) {
        handler(self.core, self.ip, self.bound, self.bus);
    }

    /// What was retired when `retired` operations behind the one that control is at are done.
    #[inline(always)]
    pub fn spent(&self, retired: isize) -> isize {
        self.core.until - (self.bound - self.ip.addr() as isize) + retired * STEP
    }

    /// Makes control be `distance` away in this page, with nothing retired.
    #[inline(always)]
    pub fn move_by(&mut self, distance: isize) {
        self.ip = self.ip.wrapping_byte_offset(distance);
        self.bound += distance;
    }

    /// To the operation that is `distance` away in this page, `retired` of this one being retired.
    #[inline(always)]
    pub fn jump(mut self, distance: i32, retired: isize) {
        self.move_by(distance as isize);
        self.bound -= retired * STEP;
        if self.bus.pending() || self.ip.addr() as isize >= self.bound {
            return self.come_back();
        }
        self.dispatch();
    }

    /// To `pc`, anywhere, `retired` of this operation being retired.
    #[inline(always)]
    pub fn leave(mut self, pc: u64, retired: isize) {
        let left = self.bound - self.ip.addr() as isize - retired * STEP;
        if !self.bus.pending()
            && left > 0
            && let Some(ip) = self.core.cache.find(pc)
        {
            self.core.base = base_of(pc);
            self.ip = ip;
            self.bound = ip.addr() as isize + left;
            return self.dispatch();
        }
        (self.core.pc, self.core.spent) = (pc, self.core.until - left);
    }

    /// Back to the loop, at the operation that control is at.
    #[inline(always)]
    pub fn come_back(self) {
        self.core.come_back(self.ip, self.bound);
    }

    /// The run ends at this operation.
    #[inline(always)]
    pub fn stop(self, exit: impl Into<Exit>) {
        self.core.exit = Some(exit.into());
        self.come_back();
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
