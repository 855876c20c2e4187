//! The reverse map: from a page to every entry that maps it; and the page's references.
//!
//! Guarantee: every entry that names a managed page has a record here, made before the entry becomes
//! visible, in the same lock hold of its leaf, and gone before the reference that the entry held;
//! and every entry holds one reference, so a page's count is zero exactly if it is free (O12). An
//! entry that moves or is copied has its new record before the old one goes: who clears all mappers
//! of a page finds one or the other.
//!
//! A record is a [`Mapper`]: table frame and index in one word. A page with one mapper, the common
//! case, keeps it in its metadata's word; changing that is one compare-exchange. With more, the
//! word is the address of a chain of blocks of seven mappers each, changed under the page's record
//! lock (ranked after node locks; its holder takes memory without reclaim, and waits for nothing).

use crate::addr::Frame;
use crate::frame::meta::{Kind, Meta};
use crate::lock::{self, Attempt};
use crate::platform::Platform;
use crate::swap::Place;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::vm::Vm;

/// Bits of a mapper that hold the index (the largest table has 2^13 entries).
const INDEX_BITS: u32 = 14;
const BLOCK_LOG2: u32 = 6;
const BLOCK_WORDS: usize = 8;

/// An entry that maps a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapper {
    /// The table that holds the entry.
    pub table: Frame,
    /// The entry's index in it.
    pub index: usize,
}

impl Mapper {
    fn encode(self) -> u64 {
        (self.table.0 << INDEX_BITS | self.index as u64) << 1 | 1
    }

    fn decode(word: u64) -> Mapper {
        let both = word >> 1;
        let index = both & ((1 << INDEX_BITS) - 1);
        Mapper { table: Frame(both >> INDEX_BITS), index: index as usize }
    }
}

/// Makes a frame just taken (as [`Kind::Page`]) a page of private memory with one reference and at
/// most one mapper.
pub(crate) fn init_page(meta: &Meta, mapper: Option<Mapper>) {
    meta.begin_pins(true);
    begin_page(meta, mapper, 0);
}

/// Makes a frame just taken (as [`Kind::Page`]) page `index` of an object, with one reference, clean.
pub(crate) fn init_cached(meta: &Meta, object: u64, index: u64) {
    meta.base.store(index, Ordering::Relaxed);
    meta.occupied.store(0, Ordering::Relaxed);
    meta.begin_pins(false);
    begin_page(meta, None, object);
}

/// Makes a frame just taken (as [`Kind::Page`]) the page of a swap slot, with one reference, as the
/// device has it.
pub(crate) fn init_swapped(meta: &Meta, place: Place) {
    meta.occupied.store(0, Ordering::Relaxed);
    meta.begin_pins(false);
    begin_page(meta, None, 0);
    meta.set_swap_place(place);
}

fn begin_page(meta: &Meta, mapper: Option<Mapper>, object: u64) {
    meta.lock.store(0, Ordering::Relaxed);
    meta.owner.store(object, Ordering::Relaxed);
    meta.link.store(0, Ordering::Relaxed);
    meta.word.store(mapper.map_or(0, Mapper::encode), Ordering::Relaxed);
    meta.refs.begin();
}

/// Drops a reference; the last one frees the page.
pub(crate) fn put_page<P: Platform>(vm: &Vm<P>, frame: Frame) {
    let meta = vm.meta_of(frame);
    if meta.refs.put() {
        debug_assert!(meta.kind() == Kind::Page && meta.word.load(Ordering::Relaxed) == 0);
        vm.give_frame(frame);
    }
}

/// Records one more mapper. None: no memory, and nothing has changed.
pub(crate) fn add<P: Platform>(vm: &Vm<P>, meta: &Meta, mapper: Mapper) -> Option<()> {
    let word = mapper.encode();
    if meta.word.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        return Some(());
    }
    with_record_lock(vm, meta, || add_locked(vm, meta, word))
}

fn add_locked<P: Platform>(vm: &Vm<P>, meta: &Meta, word: u64) -> Option<()> {
    loop {
        let found = meta.word.load(Ordering::Acquire);
        if found == 0 {
            if meta.word.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Some(());
            }
        } else if found & 1 == 0 {
            let block = vm.words_at(found, BLOCK_WORDS);
            if let Some(slot) = block[1..].iter().find(|s| s.load(Ordering::Relaxed) == 0) {
                slot.store(word, Ordering::Relaxed);
                return Some(());
            }
            let fresh = make_block(vm, found, [word, 0])?;
            meta.word.store(fresh, Ordering::Release);
            return Some(());
        } else {
            let fresh = make_block(vm, 0, [found, word])?;
            // The one mapper may go meanwhile, without the lock: then start again.
            if meta
                .word
                .compare_exchange(found, fresh, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                return Some(());
            }
            vm.give_block(fresh, BLOCK_LOG2);
        }
    }
}

fn make_block<P: Platform>(vm: &Vm<P>, next: u64, mappers: [u64; 2]) -> Option<u64> {
    let address = vm.take_block(BLOCK_LOG2)?;
    let block = vm.words_at(address, BLOCK_WORDS);
    block[0].store(next, Ordering::Relaxed);
    for (i, slot) in block[1..].iter().enumerate() {
        slot.store(mappers.get(i).copied().unwrap_or(0), Ordering::Relaxed);
    }
    Some(address)
}

/// Forgets a mapper that was recorded.
pub(crate) fn remove<P: Platform>(vm: &Vm<P>, meta: &Meta, mapper: Mapper) {
    let word = mapper.encode();
    // Release: who sees no record sees what was said of the page before it went.
    if meta.word.compare_exchange(word, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
        return;
    }
    with_record_lock(vm, meta, || {
        let mut link = &meta.word;
        loop {
            let address = link.load(Ordering::Acquire);
            if address == 0 || address & 1 != 0 {
                // Only a chain that shrank to one mapper can have become this: it is ours.
                let _ = meta.word.compare_exchange(word, 0, Ordering::Release, Ordering::Relaxed);
                return;
            }
            let block = vm.words_at(address, BLOCK_WORDS);
            if let Some(slot) = block[1..].iter().find(|s| s.load(Ordering::Relaxed) == word) {
                slot.store(0, Ordering::Relaxed);
                shrink(vm, link, address, block);
                return;
            }
            link = &block[0];
        }
    });
}

/// Lets a recorded mapper be another: whoever looks finds one of the two. Takes no memory.
pub(crate) fn relocate<P: Platform>(vm: &Vm<P>, meta: &Meta, from: Mapper, to: Mapper) {
    let (old, new) = (from.encode(), to.encode());
    // Release: as in `remove`.
    let only =
        || meta.word.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed).is_ok();
    if only() {
        return;
    }
    with_record_lock(vm, meta, || {
        let mut address = meta.word.load(Ordering::Acquire);
        while address != 0 && address & 1 == 0 {
            let block = vm.words_at(address, BLOCK_WORDS);
            if let Some(slot) = block[1..].iter().find(|s| s.load(Ordering::Relaxed) == old) {
                return slot.store(new, Ordering::Relaxed);
            }
            address = block[0].load(Ordering::Relaxed);
        }
        // Only a chain that shrank to one mapper can have become this: it is ours.
        only();
    });
}

/// Frees a block that has become empty, and unlinks it.
fn shrink<P: Platform>(vm: &Vm<P>, link: &AtomicU64, address: u64, block: &[AtomicU64]) {
    if block[1..].iter().all(|slot| slot.load(Ordering::Relaxed) == 0) {
        link.store(block[0].load(Ordering::Relaxed), Ordering::Relaxed);
        vm.give_block(address, BLOCK_LOG2);
    }
}

/// How many entries map a page, without locks: its references, but for those of its object and of
/// its pins. Exact while nobody gets or drops one; who does counts as a mapper meanwhile.
pub(crate) fn count(meta: &Meta) -> u32 {
    let others = meta.pin_count() + u32::from(meta.is_cached());
    let count = meta.refs.count().saturating_sub(others).max(1);
    // Who finds the entry unchanged behind this has read of the page that it names.
    fence(Ordering::Acquire);
    count
}

/// Whether no entry maps the page.
pub(crate) fn is_unmapped(meta: &Meta) -> bool {
    // Acquire: pairs with `remove`.
    meta.word.load(Ordering::Acquire) == 0
}

/// Whether one entry maps the page, and no other.
pub(crate) fn has_one(meta: &Meta) -> bool {
    meta.word.load(Ordering::Relaxed) & 1 != 0
}

/// Calls `visit` for every mapper, under the page's record lock.
pub(crate) fn for_each<P: Platform>(vm: &Vm<P>, meta: &Meta, mut visit: impl FnMut(Mapper)) {
    with_record_lock(vm, meta, || {
        let mut word = meta.word.load(Ordering::Acquire);
        if word & 1 != 0 {
            return visit(Mapper::decode(word));
        }
        while word != 0 {
            let block = vm.words_at(word, BLOCK_WORDS);
            for slot in &block[1..] {
                match slot.load(Ordering::Relaxed) {
                    0 => {}
                    mapper => visit(Mapper::decode(mapper)),
                }
            }
            word = block[0].load(Ordering::Relaxed);
        }
    });
}

/// The first mapper after `after`, in an order of their own: who goes on from the last one found
/// meets each that stays, once, whatever comes and goes.
pub(crate) fn next<P: Platform>(vm: &Vm<P>, meta: &Meta, after: Option<Mapper>) -> Option<Mapper> {
    // Acquire: pairs with `remove`.
    if meta.word.load(Ordering::Acquire) == 0 {
        return None;
    }
    let least = after.map_or(0, Mapper::encode);
    let mut found = None;
    for_each(vm, meta, |mapper| {
        let word = mapper.encode();
        if word > least && found.is_none_or(|best| word < best) {
            found = Some(word);
        }
    });
    found.map(Mapper::decode)
}

fn with_record_lock<P: Platform, R>(vm: &Vm<P>, meta: &Meta, section: impl FnOnce() -> R) -> R {
    while lock::try_acquire(&meta.lock) == Attempt::Held {
        vm.platform().relax();
    }
    let result = section();
    lock::release(vm.platform(), &meta.lock);
    result
}
