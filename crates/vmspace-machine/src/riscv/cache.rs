//! The pages that a hart has decoded, by virtual page.
//!
//! Guarantee: an operation that [`Cache::find`] returns was decoded from bytes that the page's
//! execute translation named at some instant since the last [`Cache::observe`] that saw a new
//! epoch, or the last [`Cache::forget`].
//!
//! Mechanism: a direct-mapped table. Forgetting advances an epoch; an entry of an older epoch is
//! translated again and its copy compared with memory, which costs a fraction of decoding, and is
//! decoded again only if it differs.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::page::{PAGE, Page, Threaded, Words};
use super::{Access, Bus, Trap};

const ENTRIES: usize = 512;

struct Entry<B> {
    base: u64,
    epoch: u64,
    page: Box<Page<B>>,
}

pub(super) struct Cache<B> {
    entries: Box<[Option<Entry<B>>; ENTRIES]>,
    epoch: u64,
    /// The bus's epoch when it was last asked.
    seen: u64,
}

/// The address of the page that holds `pc`.
#[inline(always)]
pub(super) fn base_of(pc: u64) -> u64 {
    pc & !(PAGE as u64 - 1)
}

#[inline(always)]
fn slot_of(pc: u64) -> usize {
    (pc / PAGE as u64) as usize % ENTRIES
}

#[inline(always)]
fn offset_in(pc: u64) -> usize {
    pc as usize % PAGE
}

impl<B: Bus> Cache<B> {
    pub fn new() -> Self {
        Cache { entries: Box::new([const { None }; ENTRIES]), epoch: 0, seen: 0 }
    }

    /// Trust no entry until it is compared again.
    pub fn forget(&mut self) {
        self.epoch += 1;
    }

    /// Forget if the bus may have dropped an execute translation.
    #[inline(always)]
    pub fn observe(&mut self, seen: u64) {
        if seen != self.seen {
            self.seen = seen;
            self.forget();
        }
    }

    #[inline(always)]
    fn trusted(&self, pc: u64) -> Option<&Page<B>> {
        let entry = self.entries[slot_of(pc)].as_ref()?;
        (entry.base == base_of(pc) && entry.epoch == self.epoch).then_some(&*entry.page)
    }

    /// The operation at `pc`, if it is decoded and trusted.
    #[inline(always)]
    pub fn find(&self, pc: u64) -> Option<*const Threaded<B>> {
        self.trusted(pc)?.find(offset_in(pc))
    }

    /// The operation at `pc`, translated, compared and decoded as far as needed.
    #[cold]
    pub fn enter(&mut self, bus: &mut B, pc: u64) -> Result<*const Threaded<B>, Trap> {
        let base = base_of(pc);
        let entry = &mut self.entries[slot_of(pc)];
        let current = entry.take_if(|entry| entry.base == base);
        let page = match current {
            Some(entry) if entry.epoch == self.epoch => entry.page,
            older => {
                let host =
                    bus.translate(base, Access::Execute).map_err(|trap| Trap { va: pc, ..trap })?;
                let words = copy(host);
                match older {
                    Some(entry) if *entry.page.words() == words => entry.page,
                    _ => Page::new(words),
                }
            }
        };
        let entry = entry.insert(Entry { base, epoch: self.epoch, page });
        Ok(entry.page.reach(offset_in(pc)))
    }

    /// The page at `base`, which control is in, and so is in the table.
    fn page(&mut self, base: u64) -> Option<&mut Page<B>> {
        Some(&mut *self.entries[slot_of(base)].as_mut()?.page)
    }

    /// The program counter of `ip`, which points into the page at `base`.
    #[cold]
    pub fn pc_of(&mut self, base: u64, ip: *const Threaded<B>) -> u64 {
        base.wrapping_add(self.page(base).map_or(0, |page| page.offset_of(ip)))
    }

    /// The encoding of the four-byte instruction at `ip`, which points into the page at `base`.
    #[cold]
    pub fn bits_of(&mut self, base: u64, ip: *const Threaded<B>) -> u32 {
        self.page(base).map_or(0, |page| page.bits_of(ip))
    }

    /// The instruction at the end of the page at `base` that goes on in the next one; `ip` is its
    /// `Crossing`.
    #[inline(never)]
    pub fn cross(
        &mut self,
        bus: &mut B,
        base: u64,
        ip: *const Threaded<B>,
    ) -> Result<*const Threaded<B>, Trap> {
        let host = bus.translate(base.wrapping_add(PAGE as u64), Access::Execute)?;
        // SAFETY: `translate` gives the start of a page, aligned and valid until the bus is polled.
        let second = unsafe { AtomicU16::from_ptr(host.cast()) }.load(Ordering::Relaxed);
        Ok(self.page(base).map_or(ip, |page| page.cross(ip, second)))
    }
}

/// A copy of the page at `host`.
fn copy(host: *mut u8) -> Words {
    let mut words = [0; PAGE / 8];
    for (position, word) in words.iter_mut().enumerate() {
        // SAFETY: `translate` gave the start of a page: aligned, and valid for all of it until the
        // bus is polled.
        *word = unsafe { AtomicU64::from_ptr(host.cast::<u64>().add(position)) }
            .load(Ordering::Relaxed);
    }
    words
}
