//! The one place that atomics come from.
//!
//! Guarantee: every shared word of the library is one of these types, so the same source runs on
//! the machine (core's atomics), under loom (`--cfg loom`: every interleaving and every value that
//! weak memory allows), under shuttle (`--cfg shuttle`: interleavings of the whole manager, drawn
//! from a seed), and in the counting build (`--cfg vmspace_count_lines`: which cache lines an
//! operation reads and writes).
//!
//! Store-load points are written as `fence(SeqCst)`, never as SeqCst accesses: that is what loom
//! checks exactly, and what a reader can see.

#[cfg(not(any(loom, shuttle, vmspace_count_lines)))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(any(shuttle, vmspace_count_lines))]
pub use core::sync::atomic::{Ordering, fence};
#[cfg(any(shuttle, vmspace_count_lines))]
pub use watched::{AtomicU32, AtomicU64, AtomicUsize};

#[cfg(vmspace_count_lines)]
pub mod counting;
#[cfg(shuttle)]
mod scheduled;
#[cfg(any(shuttle, vmspace_count_lines))]
mod watched;

/// Who is told of each access.
#[cfg(any(shuttle, vmspace_count_lines))]
mod watcher {
    #[cfg(vmspace_count_lines)]
    pub use super::counting::touch;
    #[cfg(shuttle)]
    pub use super::scheduled::touch;
}

/// Words that are changed only as they are found.
pub(crate) trait Change {
    type Word;

    /// Makes of the word what `to` makes of it, in the step that finds it so. False: `to` wants it
    /// left as it is, which is no access but the load.
    fn change(&self, success: Ordering, to: impl Fn(Self::Word) -> Option<Self::Word>) -> bool;
}

macro_rules! change {
    ($($atomic:ident: $word:ty),*) => {$(
        impl Change for $atomic {
            type Word = $word;

            #[inline]
            fn change(&self, success: Ordering, to: impl Fn($word) -> Option<$word>) -> bool {
                let mut found = self.load(Ordering::Relaxed);
                while let Some(new) = to(found) {
                    match self.compare_exchange_weak(found, new, success, Ordering::Relaxed) {
                        Ok(_) => return true,
                        Err(now) => found = now,
                    }
                }
                false
            }
        }
    )*};
}

change!(AtomicU32: u32, AtomicU64: u64);

/// Words that are not part of the library's protocols (user code's memory; what the test-only build
/// plants): core's atomics in every build.
pub(crate) mod user {
    pub use core::sync::atomic::{AtomicU8, AtomicU32};
}
