//! One function for each code: what the operation does, and on to the next.
//!
//! Guarantee: a function touches nothing before it is certain that its operation takes effect, and
//! hands its [`Step`] on by `dispatch`, `jump` or `leave`, or brings control back to the loop.
//!
//! What is slow has a function of its own with the same parameters, and is handed the whole
//! operation: a call in the middle of one would have it save what it passes on, every time.

use super::code::{Code, operations};
use super::execute::{Core, Step};
use super::integer::{compute, taken};
use super::memory;
use super::page::{STEP, Threaded};
use super::{Bus, Exit, csr, float};

/// An operation's function: a [`Step`], taken apart.
pub(super) type Handler<B> = fn(&mut Core<B>, *const Threaded<B>, isize, &mut B);

/// The first source: from the register file, or the value that was just computed or loaded (`v`).
macro_rules! source {
    ($step:ident $value:ident x) => {
        $step.core.x[usize::from($step.op().rs1)]
    };
    ($step:ident $value:ident v) => {
        $value
    };
}

/// A floating-point computation, by the host if it can: `$result` says.
macro_rules! float {
    ($step:ident $result:expr) => {{
        match $result {
            Some(result) => $step.core.x[usize::from($step.op().rd)] = result,
            None => return $step.pass_to(float_slowly),
        }
        $step.advance();
    }};
}

/// Does the operation, of a kind and code, that control is at; and goes to the next one, or
/// elsewhere for good.
macro_rules! perform {
    ($s:ident $value:ident Alu $code:ident $from:ident) => {
        $value = compute(Code::$code, source!($s $value $from), &$s.core.x, $s.op(), $s.core.base);
        $s.core.x[usize::from($s.op().rd)] = $value;
        $s.advance();
    };
    ($s:ident $value:ident Load $code:ident $from:ident) => {
        let va = source!($s $value $from).wrapping_add($s.op().operand());
        match memory::load(Code::$code, $s.bus, va) {
            Some(value) => $value = value,
            None => return $s.pass_to(load_slowly::<B, { Code::$code as usize }>),
        }
        $s.core.x[usize::from($s.op().rd)] = $value;
        $s.advance();
    };
    ($s:ident $value:ident Store $code:ident $from:ident) => {
        let va = source!($s $value $from).wrapping_add($s.op().offset() as i64 as u64);
        let stored = $s.core.x[usize::from($s.op().rs2())];
        if !memory::store(Code::$code, $s.bus, va, stored) {
            return $s.pass_to(store_slowly::<B, { Code::$code as usize }>);
        }
        $s.advance();
    };
    ($s:ident $value:ident Branch $code:ident $from:ident) => {
        if taken(Code::$code, source!($s $value $from), &$s.core.x, $s.op()) {
            let distance = $s.op().offset();
            return $s.jump(distance, 1);
        }
        $s.advance();
    };
    ($s:ident $value:ident Call $code:ident $from:ident) => {
        let op = $s.op();
        $s.core.x[usize::from(op.rd)] = $s.core.base.wrapping_add(op.link());
        return $s.jump(op.target(), 1)
    };
    ($s:ident $value:ident Jump $code:ident $from:ident) => {
        let op = $s.op();
        let target = source!($s $value $from).wrapping_add((op.imm >> 16) as i64 as u64);
        $s.core.x[usize::from(op.rd)] = $s.core.base.wrapping_add(op.operand() & 0xffff);
        return $s.leave(target & !1, 1)
    };
    ($s:ident $value:ident Single $code:ident $from:ident) => {
        float!($s float::host::single(Code::$code, &$s.core.x, $s.op(), $s.core.fcsr));
    };
    ($s:ident $value:ident Double $code:ident $from:ident) => {
        float!($s float::host::double(Code::$code, &$s.core.x, $s.op(), $s.core.fcsr));
    };
    ($s:ident $value:ident Float $code:ident $from:ident) => {
        float!($s float::host::other(Code::$code, &$s.core.x, $s.op(), $s.core.fcsr));
    };
    ($s:ident $value:ident Exact $code:ident $from:ident) => {
        float!($s None);
    };
}

/// The function that performs operations in turn.
macro_rules! sequence {
    ($($kind:ident $code:ident $from:ident),*) => {
        |core, ip, bound, bus| {
            let mut step = Step { core, ip, bound, bus };
            // What the last operation gave, for the next one.
            let mut value = 0u64;
            $(perform!(step value $kind $code $from);)*
            step.dispatch()
        }
    };
}

macro_rules! define {
    (
        kinds { $([$kind:ident $($code:ident)*])* }
        others { $($(#[$doc:meta])* $other:ident)* }
        pairs { $($pair:ident:
            $k1:ident $a:ident $x1:ident, $k2:ident $b:ident $x2:ident;)* }
        triples { $($triple:ident:
            $l1:ident $c:ident $y1:ident, $l2:ident $d:ident $y2:ident,
            $l3:ident $e:ident $y3:ident;)* }
    ) => {
        /// The function of `code`.
        // A jump ends its sequence, so what stands behind it is not reached.
        #[allow(unreachable_code, unused_assignments, unused_mut, unused_variables)]
        pub(super) fn handler_of<B: Bus>(code: Code) -> Handler<B> {
            match code {
                $($(Code::$code => sequence!($kind $code x),)*)*
                $(Code::$pair => sequence!($k1 $a $x1, $k2 $b $x2),)*
                $(Code::$triple => sequence!($l1 $c $y1, $l2 $d $y2, $l3 $e $y3),)*
                other => special(other),
            }
        }
    };
}
operations!(define);

/// The functions of operations that are never fused.
fn special<B: Bus>(code: Code) -> Handler<B> {
    macro_rules! special {
        ($step:ident => $body:expr) => {
            |core, ip, bound, bus| {
                #[allow(unused_mut)]
                let mut $step = Step { core, ip, bound, bus };
                $body
            }
        };
    }
    match code {
        Code::JalFar => special!(step => {
            let op = step.op();
            step.core.x[usize::from(op.rd)] = step.core.base.wrapping_add(op.link());
            let target = step.core.base.wrapping_add(op.target() as i64 as u64);
            step.leave(target, 1)
        }),
        Code::Goto => special!(step => {
            // Not a place to stop at: whether it is there depends on what was decoded before.
            step.move_by(step.op().imm as isize);
            step.dispatch()
        }),
        Code::Leave => special!(step => {
            let target = step.core.base.wrapping_add(step.op().operand());
            step.leave(target, 0)
        }),
        Code::Crossing => special!(step => match cross(step.core, step.bus, step.ip) {
            Some(inside) => {
                step.bound += inside.addr() as isize - step.ip.addr() as isize;
                step.ip = inside;
                step.dispatch()
            }
            None => step.come_back(),
        }),
        Code::AmoW => special!(step => atomic(step, 4)),
        Code::AmoD => special!(step => atomic(step, 8)),
        Code::Csr => special!(step => {
            let now = step.spent(0) / STEP;
            let retired = step.core.retired.wrapping_add(now as u64);
            let (op, Core { x, fcsr, .. }) = (step.op(), &mut *step.core);
            let executed = csr::execute(x, fcsr, op, || step.bus.time(), retired);
            let done = executed.is_some() || step.core.refuse(step.ip);
            finish(step, done)
        }),
        Code::Fence => special!(step => {
            memory::fence_for(step.op());
            finish(step, true)
        }),
        Code::FenceI => special!(step => {
            let behind = step.core.cache.pc_of(step.core.base, step.ip).wrapping_add(4);
            step.core.cache.forget();
            step.leave(behind, 1)
        }),
        Code::Ecall => special!(step => step.stop(Exit::Ecall)),
        Code::Ebreak => special!(step => step.stop(Exit::Breakpoint)),
        _ => special!(step => {
            let bits = step.op().imm as u32;
            let pc = step.core.cache.pc_of(step.core.base, step.ip);
            step.stop(Exit::Illegal { pc, bits })
        }),
    }
}

/// The rest of an operation whose work is done if `done`; if not, why the run ends is noted.
#[inline(always)]
fn finish<B: Bus>(mut step: Step<'_, B>, done: bool) {
    if done {
        step.advance();
        step.dispatch()
    } else {
        step.come_back()
    }
}

macro_rules! slowly {
    ($(#[$doc:meta])* $name:ident $(const $code:ident)? ($step:ident) $body:expr) => {
        $(#[$doc])*
        #[cold]
        #[inline(never)]
        fn $name<B: Bus $(, const $code: usize)?>(
            core: &mut Core<B>,
            ip: *const Threaded<B>,
            bound: isize,
            bus: &mut B,
        ) {
            let $step = Step { core, ip, bound, bus };
            let done = $body;
            finish($step, done)
        }
    };
}

slowly! {
    /// A load whose translation is not at hand, or that is not aligned.
    load_slowly const CODE (step) {
        let op = step.op();
        let va = step.core.x[usize::from(op.rs1)].wrapping_add(op.operand());
        let loaded = memory::load_slowly(Code::ALL[CODE], step.bus, va);
        let done = loaded.map(|value| step.core.x[usize::from(op.rd)] = value);
        step.core.attempt(done)
    }
}
slowly! {
    /// A store whose translation is not at hand, or that is not aligned.
    store_slowly const CODE (step) {
        let op = step.op();
        let va = step.core.x[usize::from(op.rs1)].wrapping_add(op.offset() as i64 as u64);
        let value = step.core.x[usize::from(op.rs2())];
        step.core.attempt(memory::store_slowly(Code::ALL[CODE], step.bus, va, value))
    }
}
slowly! {
    /// A floating-point computation that the host's arithmetic is not trusted with.
    float_slowly(step) {
        let op = step.op();
        let done = float::execute(&mut step.core.x, &mut step.core.fcsr, op).is_some();
        done || step.core.refuse(step.ip)
    }
}

/// An atomic operation of `size` bytes.
#[inline(always)]
fn atomic<B: Bus>(step: Step<'_, B>, size: u64) {
    let (op, Core { x, reservation, .. }) = (step.op(), &mut *step.core);
    let result = memory::amo(step.bus, reservation, x, op, size);
    let done = step.core.attempt(result);
    finish(step, done)
}

/// The instruction whose halves lie in two pages, its `Crossing` at `ip`; none when the second page
/// cannot be fetched from.
#[inline(never)]
fn cross<B: Bus>(
    core: &mut Core<B>,
    bus: &mut B,
    ip: *const Threaded<B>,
) -> Option<*const Threaded<B>> {
    let crossed = core.cache.cross(bus, core.base, ip);
    crossed.map_err(|trap| core.exit = Some(trap.into())).ok()
}
