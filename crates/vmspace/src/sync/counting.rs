//! Core's atomics that say which cache lines they touch: the counting build's (`--cfg
//! vmspace_count_lines`).
//!
//! Guarantee: between the start and the end of a [`record`]ing, each access of the running thread
//! to one of these types is noted: its line, whether it may write, and the line of source that did
//! it. A read-modify-write that fails counts as a write, since it takes the line for itself all
//! the same. Accesses outside a recording cost a look at a flag and leave nothing behind.
//!
//! The layout is core's, so memory can be looked at as these as well as as those.

use core::cell::RefCell;
use core::panic::Location;
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;

/// log2 of a cache line's bytes.
const LINE_SHIFT: u32 = 6;

/// Where in the source a line was first read and first written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Touch {
    /// The first read; none when it was only written.
    pub read: Option<&'static Location<'static>>,
    /// The first write; none when it was only read.
    pub written: Option<&'static Location<'static>>,
}

/// The lines that were touched, by number (address >> 6).
pub type Lines = BTreeMap<usize, Touch>;

std::thread_local! {
    static RECORDING: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// Runs `section` and gives the lines that it touched on this thread.
pub fn record<R>(section: impl FnOnce() -> R) -> (R, Lines) {
    RECORDING.with(|recording| *recording.borrow_mut() = Some(Lines::new()));
    let result = section();
    let lines = RECORDING.with(|recording| recording.borrow_mut().take());
    (result, lines.unwrap_or_default())
}

/// Notes an access to `address` that is not one of these types'.
#[track_caller]
pub fn touch(address: usize, write: bool) {
    let caller = Location::caller();
    RECORDING.with(|recording| {
        if let Some(lines) = recording.borrow_mut().as_mut() {
            let touch = lines.entry(address >> LINE_SHIFT).or_default();
            let first = if write { &mut touch.written } else { &mut touch.read };
            first.get_or_insert(caller);
        }
    });
}

macro_rules! counting_atomic {
    ($name:ident, $word:ty) => {
        /// Core's type of this name, counted.
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

            #[track_caller]
            pub fn compare_exchange(
                &self,
                old: $word,
                new: $word,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                self.touch(true);
                self.0.compare_exchange(old, new, success, failure)
            }

            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                old: $word,
                new: $word,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                self.touch(true);
                self.0.compare_exchange_weak(old, new, success, failure)
            }

            counting_atomic!(@fetch $word: fetch_add fetch_sub fetch_and fetch_or fetch_xor);
        }
    };
    (@fetch $word:ty: $($fetch:ident)*) => {$(
        #[track_caller]
        pub fn $fetch(&self, value: $word, order: Ordering) -> $word {
            self.touch(true);
            self.0.$fetch(value, order)
        }
    )*};
}

counting_atomic!(AtomicU32, u32);
counting_atomic!(AtomicU64, u64);
counting_atomic!(AtomicUsize, usize);
