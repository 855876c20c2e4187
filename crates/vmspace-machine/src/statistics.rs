//! What is counted, for the report.
//!
//! Guarantee: a hart counts for itself, in plain words, and publishes them when it comes out; so
//! counting costs an access nothing but an addition, and no two harts write one line.

use crate::shootdown::ShootdownCounts;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What one hart has counted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct HartCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// Where a hart publishes its counts.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Published {
            $($name: AtomicU64,)*
        }

        impl Published {
            /// The hart: these are its counts now.
            pub fn publish(&self, counts: &HartCounts) {
                $(self.$name.store(counts.$name, Ordering::Relaxed);)*
            }

            /// Adds what is published to `sum`.
            pub fn add_to(&self, sum: &mut HartCounts) {
                $(sum.$name += self.$name.load(Ordering::Relaxed);)*
            }
        }
    };
}

counts! {
    /// Instructions that programs have run.
    instructions,
    /// Accesses that something cached served.
    hits,
    /// Accesses for which nothing cached served.
    misses,
    /// Walks over the tables.
    walks,
    /// Walks begun again because an entry changed under them.
    walk_retries,
    /// Walks that nobody asked for.
    speculated,
    /// Accesses refused: the program faults.
    faults,
    /// Accessed bits set.
    accessed_set,
    /// Dirty bits set.
    dirty_set,
    /// Cached translations compared with their entries.
    checks,
    /// Switches to another space.
    switches,
    /// Identifiers taken from another space.
    ids_recycled,
    /// Identifiers given up because a batch named a space that was not loaded.
    spaces_left,
    /// Pages dropped because a batch named them, counted on each hart.
    pages_dropped,
    /// Spaces dropped whole because a batch named them, counted on each hart.
    spaces_dropped,
}

/// Everything, summed over the harts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Accesses that something cached served.
    pub tlb_hits: u64,
    /// Accesses that needed a walk.
    pub tlb_misses: u64,
    /// What the harts have counted, as of when each last came out.
    pub harts: HartCounts,
    /// Batches shot.
    pub shootdowns: u64,
    /// Pages named in them.
    pub shootdown_pages: u64,
    /// Batches that took a whole space.
    pub shootdown_spaces: u64,
    /// Harts that were inside when they were named, and so were interrupted.
    pub harts_interrupted: u64,
    /// Harts that were outside when they were named, and so had answered.
    pub harts_outside: u64,
}

impl Statistics {
    /// Sums what is published.
    pub(crate) fn sum(published: &[Published], shot: ShootdownCounts) -> Statistics {
        let mut harts = HartCounts::default();
        for hart in published {
            hart.add_to(&mut harts);
        }
        Statistics {
            tlb_hits: harts.hits,
            tlb_misses: harts.misses,
            harts,
            shootdowns: shot.batches,
            shootdown_pages: shot.pages,
            shootdown_spaces: shot.spaces,
            harts_interrupted: shot.interrupted,
            harts_outside: shot.outside,
        }
    }
}
