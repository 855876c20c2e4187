//! The loop: one `match` over the decoded operations.
//!
//! Guarantee: an operation either takes effect whole and is counted, or ends the run with `pc` at
//! it.
//!
//! Mechanism: the outer loop enters a page at `pc`; the inner one walks its operations by a bare
//! pointer, which [`super::page`] promises never runs off them. `ip - origin` is eight times the
//! number of retired instructions of the run: every jump moves `origin` along with `ip`, less the
//! one operation that it is itself.

use super::cache::base_of;
use super::code::{Code, operations};
use super::integer::{compute, taken};
use super::memory::{self, Refusal};
use super::op::Op;
use super::{Bus, Exit, Hart, Trap, csr, float};

/// The size of an operation, in the unit of `ip` and `origin`.
const STEP: isize = size_of::<Op>() as isize;

impl From<Trap> for Exit {
    #[inline(always)]
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

impl Hart {
    /// Run with the registers in `file`.
    pub(super) fn execute<B: Bus>(&mut self, bus: &mut B, quota: u64) -> Exit {
        let Hart { regs, file, cache, reservation, retired } = self;
        let x = &mut **file;
        let limit = isize::try_from(quota.max(1)).unwrap_or(isize::MAX).saturating_mul(STEP);
        let mut pc = regs.pc & !1;
        let mut spent = 0isize;

        let exit = 'run: loop {
            // Control is at `pc`, outside any page.
            if bus.pending() || spent >= limit {
                if bus.pending() && bus.poll() {
                    break Exit::Pending;
                }
                if spent >= limit {
                    break Exit::Quota;
                }
                cache.observe(bus.code_epoch());
            }
            let mut ip = match cache.find(pc) {
                Some(ip) => ip,
                None => match cache.enter(bus, pc) {
                    Ok(ip) => ip,
                    Err(trap) => break trap.into(),
                },
            };
            let base = base_of(pc);
            let mut origin = ip.addr() as isize - spent;
            // What the last operation gave, for the next one in the same arm.
            let mut value;
            // SAFETY: `ip` points at an operation of the page, and the page is neither changed nor
            // dropped while control is in it, but by `cross`, which gives the new pointer.
            let mut op = unsafe { &*ip };

            macro_rules! next {
                () => {{
                    ip = ip.wrapping_add(1);
                    // SAFETY: only operations that fall through come here, and a stream does not
                    // end with one.
                    op = unsafe { &*ip };
                }};
            }
            // Leave the page for `$pc`, with `$retired` of the current operation retired.
            macro_rules! leave {
                ($pc:expr, $retired:expr) => {{
                    pc = $pc;
                    spent = ip.addr() as isize - origin + $retired * STEP;
                    continue 'run;
                }};
            }
            // End the run at the current operation.
            macro_rules! stop {
                ($exit:expr) => {{
                    pc = cache.pc_of(base, ip);
                    spent = ip.addr() as isize - origin;
                    break 'run $exit.into();
                }};
            }
            macro_rules! attempt {
                ($result:expr) => {
                    match $result {
                        Ok(value) => value,
                        Err(refusal) => stop!(refusal),
                    }
                };
            }
            // Go to the operation that is `$distance` away, in this page.
            macro_rules! jump {
                ($distance:expr, $retired:expr) => {{
                    let distance = $distance as isize;
                    ip = ip.wrapping_byte_offset(distance);
                    origin += distance - $retired * STEP;
                    if bus.pending() || ip.addr() as isize - origin >= limit {
                        leave!(cache.pc_of(base, ip), 0);
                    }
                    // SAFETY: distances were resolved to operations of the same page.
                    op = unsafe { &*ip };
                }};
            }
            // A floating-point computation, by the host if it can: `$result` says.
            macro_rules! float {
                ($result:expr) => {{
                    match $result {
                        Some(result) => x[usize::from(op.rd)] = result,
                        None if float::execute(x, &mut regs.fcsr, *op).is_some() => {}
                        None => stop!(Refused(cache.bits_of(base, ip))),
                    }
                    next!();
                }};
            }
            // The first operand: from the register file, or the value that was just computed or
            // loaded.
            macro_rules! operand {
                (x) => {
                    x[usize::from(op.rs1)]
                };
                (v) => {
                    value
                };
            }
            // Execute the current operation, of a kind and code, and then `$next` unless control
            // went elsewhere.
            macro_rules! body {
                (alu $code:ident $from:ident $next:block) => {{
                    value = compute(Code::$code, operand!($from), x, *op, base);
                    x[usize::from(op.rd)] = value;
                    next!();
                    $next
                }};
                (load $code:ident $from:ident $next:block) => {{
                    let va = operand!($from).wrapping_add(op.operand());
                    value = attempt!(memory::load(Code::$code, bus, va));
                    x[usize::from(op.rd)] = value;
                    next!();
                    $next
                }};
                (store $code:ident $from:ident $next:block) => {{
                    let va = operand!($from).wrapping_add(op.offset() as i64 as u64);
                    attempt!(memory::store(Code::$code, bus, va, x[usize::from(op.rs2())]));
                    next!();
                    $next
                }};
                (branch $code:ident $from:ident $next:block) => {{
                    if taken(Code::$code, operand!($from), x, *op) {
                        jump!(op.offset(), 1)
                    } else {
                        next!();
                        $next
                    }
                }};
                (call $code:ident $from:ident $next:block) => {{
                    x[usize::from(op.rd)] = base.wrapping_add(op.link());
                    jump!(op.target(), 1)
                }};
                (jump $code:ident $from:ident $next:block) => {{
                    let target = operand!($from).wrapping_add((op.imm >> 16) as i64 as u64);
                    x[usize::from(op.rd)] = base.wrapping_add(op.operand() & 0xffff);
                    leave!(target & !1, 1)
                }};
                (single $code:ident $from:ident $next:block) => {
                    float!(float::host::single(Code::$code, x, *op, regs.fcsr))
                };
                (double $code:ident $from:ident $next:block) => {
                    float!(float::host::double(Code::$code, x, *op, regs.fcsr))
                };
                (float $code:ident $from:ident $next:block) => {
                    float!(float::host::other(Code::$code, x, *op, regs.fcsr))
                };
                (exact $code:ident $from:ident $next:block) => {
                    float!(None)
                };
            }
            macro_rules! dispatch {
                (
                    kinds { $([$kind:ident $($code:ident)*])* }
                    pairs { $($pair:ident:
                        $k1:ident $a:ident $x1:ident, $k2:ident $b:ident $x2:ident;)* }
                    triples { $($triple:ident:
                        $l1:ident $c:ident $y1:ident, $l2:ident $d:ident $y2:ident,
                        $l3:ident $e:ident $y3:ident;)* }
                ) => {
                    match op.code {
                        $($(Code::$code => body!($kind $code x {}),)*)*
                        $(Code::$pair => body!($k1 $a $x1 { body!($k2 $b $x2 {}) }),)*
                        $(Code::$triple => {
                            body!($l1 $c $y1 { body!($l2 $d $y2 { body!($l3 $e $y3 {}) }) })
                        })*
                    Code::JalFar => {
                        x[usize::from(op.rd)] = base.wrapping_add(op.link());
                        leave!(base.wrapping_add(op.target() as i64 as u64), 1);
                    }
                    Code::Goto => jump!(op.imm, 0),
                    Code::Leave => leave!(base.wrapping_add(op.operand()), 0),
                    Code::Crossing => {
                        let inside = attempt!(cache.cross(bus, base, ip));
                        origin += inside.addr() as isize - ip.addr() as isize;
                        ip = inside;
                        // SAFETY: `cross` gives an operation of the same page.
                        op = unsafe { &*ip };
                    }
                    Code::AmoW | Code::AmoD => {
                        let size = if op.code == Code::AmoW { 4 } else { 8 };
                        attempt!(memory::amo(bus, reservation, x, *op, size));
                        next!();
                    }
                    Code::Csr => {
                        let now = (ip.addr() as isize - origin) / STEP;
                        let counted = retired.wrapping_add(now as u64);
                        let time = || bus.time();
                        if csr::execute(x, &mut regs.fcsr, *op, time, counted).is_none() {
                            stop!(Refused(cache.bits_of(base, ip)));
                        }
                        next!();
                    }
                    Code::Fence => {
                        memory::fence_for(*op);
                        next!();
                    }
                    Code::FenceI => {
                        let behind = cache.pc_of(base, ip).wrapping_add(4);
                        cache.forget();
                        leave!(behind, 1);
                    }
                    Code::Ecall => stop!(Exit::Ecall),
                    Code::Ebreak => stop!(Exit::Breakpoint),
                    Code::Illegal => stop!(Refused(op.imm as u32)),
                    }
                };
            }

            loop {
                operations!(dispatch);
            }
        };

        regs.pc = pc;
        *retired = retired.wrapping_add((spent / STEP) as u64);
        match exit {
            Exit::Illegal { bits, .. } => Exit::Illegal { pc, bits },
            exit => exit,
        }
    }
}

/// An instruction with these bits was refused; where it is, is added at the end.
struct Refused(u32);

impl From<Refused> for Exit {
    fn from(Refused(bits): Refused) -> Self {
        Exit::Illegal { pc: 0, bits }
    }
}
