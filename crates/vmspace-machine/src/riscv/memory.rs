//! Loads, stores and atomic operations on guest memory.
//!
//! Guarantee: an aligned access is one host atomic access; any other is done byte by byte, and a
//! store that crosses into another page has translated both before it writes. An access that faults
//! has had no effect.
//!
//! Mechanism: guest memory is shared with other harts and with the kernel's side, so it is never
//! touched but through relaxed host atomics. Atomic operations are host atomic operations. RISC-V's
//! `aq` and `rl` are sequentially consistent among themselves, so either bit makes the host
//! operation `SeqCst`. A store-conditional is a compare-exchange against the value that the
//! load-reserved saw.

use std::sync::atomic::{
    AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence,
};

use super::op::{Code, File, Op};
use super::page::PAGE;
use super::{Access, Bus, Trap};

const _: () = assert!(cfg!(target_endian = "little"), "guest words are accessed as host words");

/// What a load-reserved saw, for the store-conditional that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    va: u64,
    value: u64,
    size: u64,
}

/// Why an atomic operation did not happen.
pub(super) enum Refusal {
    Trap(Trap),
    Misaligned(u64),
}

impl From<Trap> for Refusal {
    fn from(trap: Trap) -> Self {
        Refusal::Trap(trap)
    }
}

/// The size of the load or store `code`.
#[inline(always)]
const fn bytes_of(code: Code) -> u64 {
    match code {
        Code::Lb | Code::Lbu | Code::Sb => 1,
        Code::Lh | Code::Lhu | Code::Sh => 2,
        Code::Lw | Code::Lwu | Code::Flw | Code::Sw => 4,
        _ => 8,
    }
}

/// The value that the load `code` gives for what is in memory.
#[inline(always)]
const fn extend(code: Code, raw: u64) -> u64 {
    match code {
        Code::Lb => raw as i8 as u64,
        Code::Lh => raw as i16 as u64,
        Code::Lw => raw as i32 as u64,
        Code::Flw => raw | 0xffff_ffff_0000_0000,
        _ => raw,
    }
}

/// The value that the load `code` gives, if it is aligned and its translation is at hand.
#[inline(always)]
pub(super) fn load<B: Bus>(code: Code, bus: &mut B, va: u64) -> Option<u64> {
    let host = bus.hit(va, Access::Read, bytes_of(code))?;
    // SAFETY: `hit` gives memory that is valid from `va` to the end of its page and only accessed
    // atomically, and only for a `va` that is aligned, so the access is aligned and inside.
    Some(extend(code, unsafe { load_at(host, bytes_of(code)) }))
}

/// The value that the load `code` gives.
pub(super) fn load_slowly<B: Bus>(code: Code, bus: &mut B, va: u64) -> Result<u64, Trap> {
    let size = bytes_of(code);
    let raw = if va.is_multiple_of(size) {
        let host = bus.translate(va, Access::Read)?;
        // SAFETY: as in `load`; that it is aligned was asked.
        unsafe { load_at(host, size) }
    } else {
        load_bytes(bus, va, size)?
    };
    Ok(extend(code, raw))
}

/// # Safety
/// `host` is aligned to `size`, and valid guest memory.
#[inline(always)]
unsafe fn load_at(host: *mut u8, size: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => AtomicU8::from_ptr(host).load(Ordering::Relaxed).into(),
            2 => AtomicU16::from_ptr(host.cast()).load(Ordering::Relaxed).into(),
            4 => AtomicU32::from_ptr(host.cast()).load(Ordering::Relaxed).into(),
            _ => AtomicU64::from_ptr(host.cast()).load(Ordering::Relaxed),
        }
    }
}

/// Stores the low bytes of `value` as `code` says, if it is aligned and its translation is at hand;
/// gives whether it did.
#[inline(always)]
pub(super) fn store<B: Bus>(code: Code, bus: &mut B, va: u64, value: u64) -> bool {
    let Some(host) = bus.hit(va, Access::Write, bytes_of(code)) else { return false };
    // SAFETY: as in `load`, and the translation is for writing.
    unsafe { store_at(host, value, bytes_of(code)) };
    true
}

/// Stores the low bytes of `value` as `code` says.
pub(super) fn store_slowly<B: Bus>(
    code: Code,
    bus: &mut B,
    va: u64,
    value: u64,
) -> Result<(), Trap> {
    let size = bytes_of(code);
    if !va.is_multiple_of(size) {
        return store_bytes(bus, va, value, size);
    }
    let host = bus.translate(va, Access::Write)?;
    // SAFETY: as in `load_slowly`, and the translation is for writing.
    unsafe { store_at(host, value, size) };
    Ok(())
}

/// # Safety
/// `host` is aligned to `size`, and valid guest memory for writing.
#[inline(always)]
unsafe fn store_at(host: *mut u8, value: u64, size: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => AtomicU8::from_ptr(host).store(value as u8, Ordering::Relaxed),
            2 => AtomicU16::from_ptr(host.cast()).store(value as u16, Ordering::Relaxed),
            4 => AtomicU32::from_ptr(host.cast()).store(value as u32, Ordering::Relaxed),
            _ => AtomicU64::from_ptr(host.cast()).store(value, Ordering::Relaxed),
        }
    }
}

/// The host address of each byte of an access that is not aligned.
fn bytes<B: Bus>(bus: &mut B, va: u64, size: u64, access: Access) -> Result<[*mut u8; 8], Trap> {
    let head = size.min(PAGE as u64 - va % PAGE as u64) as usize;
    let mut hosts = [bus.translate(va, access)?; 8];
    if head < size as usize {
        hosts[head..].fill(bus.translate(va.wrapping_add(head as u64), access)?);
    }
    for (position, host) in hosts.iter_mut().enumerate() {
        let part = if position < head { position } else { position - head };
        *host = host.wrapping_add(part);
    }
    Ok(hosts)
}

fn load_bytes<B: Bus>(bus: &mut B, va: u64, size: u64) -> Result<u64, Trap> {
    let hosts = bytes(bus, va, size, Access::Read)?;
    Ok(hosts.iter().take(size as usize).rev().fold(0, |value, &host| {
        // SAFETY: the first `size` addresses lie in the one or two pages that were just translated.
        value << 8 | u64::from(unsafe { AtomicU8::from_ptr(host) }.load(Ordering::Relaxed))
    }))
}

fn store_bytes<B: Bus>(bus: &mut B, va: u64, value: u64, size: u64) -> Result<(), Trap> {
    let hosts = bytes(bus, va, size, Access::Write)?;
    for (host, byte) in hosts.into_iter().zip(value.to_le_bytes()).take(size as usize) {
        // SAFETY: as in `load_bytes`, and the translations are for writing.
        unsafe { AtomicU8::from_ptr(host) }.store(byte, Ordering::Relaxed);
    }
    Ok(())
}

/// A fence: only store before load needs the host's full one.
pub(super) fn fence_for(op: &Op) {
    let (write_before, read_after) = (op.imm >> 4 & 1, op.imm >> 1 & 1);
    let full = write_before & read_after != 0;
    fence(if full { Ordering::SeqCst } else { Ordering::AcqRel });
}

/// The host atomics of one width, unsigned and signed, and the types that go with them.
macro_rules! width {
    ($name:ident, $atomic:ty, $unsigned:ty, $signed_atomic:ty, $signed:ty) => {
        /// The read-modify-write `kind`; gives the old value.
        ///
        /// # Safety
        /// `host` is aligned, and valid guest memory for writing.
        unsafe fn $name(host: *mut u8, kind: i32, value: u64, ordering: Ordering) -> u64 {
            // SAFETY: the caller's promise.
            let cell = unsafe { <$atomic>::from_ptr(host.cast()) };
            // SAFETY: as above; the same word, and the same kind of access.
            let signed = unsafe { <$signed_atomic>::from_ptr(host.cast()) };
            let value = value as $unsigned;
            let old = match kind {
                0x00 => cell.fetch_add(value, ordering),
                0x01 => cell.swap(value, ordering),
                0x04 => cell.fetch_xor(value, ordering),
                0x08 => cell.fetch_or(value, ordering),
                0x0c => cell.fetch_and(value, ordering),
                0x10 => signed.fetch_min(value as $signed, ordering) as $unsigned,
                0x14 => signed.fetch_max(value as $signed, ordering) as $unsigned,
                0x18 => cell.fetch_min(value, ordering),
                _ => cell.fetch_max(value, ordering),
            };
            old as $signed as u64
        }
    };
}

width!(modify_word, AtomicU32, u32, AtomicI32, i32);
width!(modify_double, AtomicU64, u64, AtomicI64, i64);

/// An atomic operation of `size` bytes.
pub(super) fn amo<B: Bus>(
    bus: &mut B,
    reservation: &mut Option<Reservation>,
    x: &mut File,
    op: &Op,
    size: u64,
) -> Result<(), Refusal> {
    let va = x[usize::from(op.rs1)];
    let value = x[usize::from(op.rs2())];
    if va & (size - 1) != 0 {
        return Err(Refusal::Misaligned(va));
    }
    let ordering = if op.offset() & 3 == 0 { Ordering::Relaxed } else { Ordering::SeqCst };
    x[usize::from(op.rd)] = match op.offset() >> 2 {
        0x02 => load_reserved(bus, reservation, va, size, op)?,
        0x03 => {
            let held = reservation.take().filter(|held| held.va == va && held.size == size);
            u64::from(!store_conditional(bus, held, value, ordering)?)
        }
        kind => {
            let host = bus.translate(va, Access::Write)?;
            // SAFETY: `va` is aligned to `size`, and `translate` allowed writing from there to the
            // page's end.
            unsafe {
                match size {
                    4 => modify_word(host, kind, value, ordering),
                    _ => modify_double(host, kind, value, ordering),
                }
            }
        }
    };
    Ok(())
}

fn load_reserved<B: Bus>(
    bus: &mut B,
    reservation: &mut Option<Reservation>,
    va: u64,
    size: u64,
    op: &Op,
) -> Result<u64, Trap> {
    *reservation = None;
    if op.offset() & 1 != 0 {
        // `rl` on a load: nothing before it may pass it, stores included, which no ordering of a
        // load says.
        fence(Ordering::SeqCst);
    }
    let code = if size == 4 { Code::Lw } else { Code::Ld };
    let value = load_slowly(code, bus, va)?;
    if op.offset() & 3 != 0 {
        fence(Ordering::Acquire);
    }
    *reservation = Some(Reservation { va, value, size });
    Ok(value)
}

/// Store `value` if memory still holds what the reservation saw; gives whether it did.
fn store_conditional<B: Bus>(
    bus: &mut B,
    held: Option<Reservation>,
    value: u64,
    ordering: Ordering,
) -> Result<bool, Trap> {
    let Some(Reservation { va, value: seen, size }) = held else {
        return Ok(false);
    };
    let host = bus.translate(va, Access::Write)?;
    let failed = Ordering::Relaxed;
    // SAFETY: the load-reserved had an address aligned to `size`, and `translate` allowed writing
    // there.
    Ok(unsafe {
        match size {
            4 => AtomicU32::from_ptr(host.cast())
                .compare_exchange(seen as u32, value as u32, ordering, failed)
                .is_ok(),
            _ => AtomicU64::from_ptr(host.cast())
                .compare_exchange(seen, value, ordering, failed)
                .is_ok(),
        }
    })
}
