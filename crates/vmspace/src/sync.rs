//! The one place that atomics come from.
//!
//! Guarantee: every shared word of the library is one of these types, so the same source runs on
//! the machine (core's atomics), under loom (`--cfg loom`: every interleaving and every value that
//! weak memory allows), and in the counting build (`--cfg vmspace_count_lines`: which cache lines
//! an operation reads and writes).
//!
//! Store-load points are written as `fence(SeqCst)`, never as SeqCst accesses: that is what loom
//! checks exactly, and what a reader can see.

#[cfg(all(not(loom), not(vmspace_count_lines)))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(all(not(loom), vmspace_count_lines))]
pub use core::sync::atomic::{Ordering, fence};
#[cfg(all(not(loom), vmspace_count_lines))]
pub use counting::{AtomicU32, AtomicU64, AtomicUsize};

#[cfg(all(not(loom), vmspace_count_lines))]
pub mod counting;

/// User code's memory: no word of the library's, so core's atomics in every build.
pub(crate) mod user {
    pub use core::sync::atomic::{AtomicU8, AtomicU32};
}
