//! Core's atomics that tell somebody of each access before it is done: the types of the counting
//! build (`--cfg vmspace_count_lines`) and of shuttle's (`--cfg shuttle`).
//!
//! The layout is core's, so memory (a frame that becomes a table) can be looked at as these as well
//! as as those.

use super::watcher::touch;
use core::sync::atomic::Ordering;

macro_rules! watched_atomic {
    ($name:ident, $word:ty) => {
        /// Core's type of this name, watched.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name(core::sync::atomic::$name);

        #[allow(missing_docs)] // each method is core's of its name
        impl $name {
            pub const fn new(value: $word) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }

            #[track_caller]
            fn touch(&self, write: bool) {
                touch(&raw const *self as usize, write);
            }

            pub fn get_mut(&mut self) -> &mut $word {
                self.0.get_mut()
            }

            pub fn into_inner(self) -> $word {
                self.0.into_inner()
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $word {
                self.touch(false);
                self.0.load(order)
            }

            #[track_caller]
            pub fn store(&self, value: $word, order: Ordering) {
                self.touch(true);
                self.0.store(value, order);
            }

            #[track_caller]
            pub fn swap(&self, value: $word, order: Ordering) -> $word {
                self.touch(true);
                self.0.swap(value, order)
            }

            watched_atomic!(@exchange $word: compare_exchange compare_exchange_weak);

            watched_atomic!(@fetch $word: fetch_add fetch_sub fetch_and fetch_or fetch_xor);
        }
    };
    (@exchange $word:ty: $($exchange:ident)*) => {$(
        #[track_caller]
        pub fn $exchange(
            &self,
            old: $word,
            new: $word,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$word, $word> {
            self.touch(true);
            self.0.$exchange(old, new, success, failure)
        }
    )*};
    (@fetch $word:ty: $($fetch:ident)*) => {$(
        #[track_caller]
        pub fn $fetch(&self, value: $word, order: Ordering) -> $word {
            self.touch(true);
            self.0.$fetch(value, order)
        }
    )*};
}

watched_atomic!(AtomicU32, u32);
watched_atomic!(AtomicU64, u64);
watched_atomic!(AtomicUsize, usize);
