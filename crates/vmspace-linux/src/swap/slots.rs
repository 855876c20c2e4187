//! What a device keeps of each of its slots.
//!
//! Guarantee: slots that follow one another are behind different locks, so harts that swap
//! different pages seldom meet; a lock is held for the table's own work alone, never while a page
//! is copied, compressed or freed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks of one device.
const SHARDS: usize = 64;

/// A value for each slot that holds a page.
#[derive(Debug)]
pub(super) struct Slots<T> {
    shards: [Mutex<BTreeMap<u64, T>>; SHARDS],
    used: AtomicU64,
    peak: AtomicU64,
}

impl<T: Clone> Slots<T> {
    pub fn new() -> Slots<T> {
        Slots {
            shards: [const { Mutex::new(BTreeMap::new()) }; SHARDS],
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    fn shard(&self, slot: u64) -> MutexGuard<'_, BTreeMap<u64, T>> {
        let shard = &self.shards[(slot % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, slot: u64) -> Option<T> {
        self.shard(slot).get(&slot).cloned()
    }

    pub fn put(&self, slot: u64, value: T) {
        let before = self.shard(slot).insert(slot, value);
        if before.is_none() {
            let used = self.used.fetch_add(1, Ordering::Relaxed) + 1;
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
    }

    pub fn remove(&self, slot: u64) {
        let before = self.shard(slot).remove(&slot);
        if before.is_some() {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many slots hold a page, and how many did at the most.
    pub fn usage(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_written_twice_would_count_twice() {
        let slots = Slots::new();
        slots.put(3, 'a');
        slots.put(3, 'b');
        slots.put(3 + SHARDS as u64, 'c');
        assert_eq!((slots.get(3), slots.get(67), slots.get(4)), (Some('b'), Some('c'), None));
        assert_eq!(slots.usage(), (2, 2));
        slots.remove(3);
        slots.remove(3);
        assert_eq!((slots.get(3), slots.usage()), (None, (1, 2)));
    }
}
