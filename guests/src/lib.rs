//! What the guest programs share: a start-up, system calls, lines of output, threads, processes,
//! mapped memory that can be filled and checked, and one way to fail.
//!
//! They are Linux programs without a C library, so that a few kilobytes show exactly which calls and
//! which accesses a test makes. Every page-sized thing follows `AT_PAGESZ`: they run on any format.
#![no_std]

pub mod calls;
pub mod check;
pub mod map;
pub mod paging;
pub mod pattern;
pub mod print;
pub mod process;
pub mod rng;
pub mod signal;
pub mod start;
pub mod sync;
pub mod syscall;
pub mod thread;
pub mod time;

pub use map::Map;
pub use rng::Rng;
pub use start::{Args, page_size};
