//! A virtual-memory manager to lift into a kernel, a hypervisor or an emulator.
#![cfg_attr(not(test), no_std)]

#[cfg(any(loom, shuttle, vmspace_count_lines))]
extern crate std;
// The tests' host is written against the library's name.
#[cfg(test)]
extern crate self as vmspace;

mod access;
pub mod addr;
pub mod backend;
pub mod cell;
mod check;
pub mod context;
mod counters;
pub mod entry;
pub mod error;
#[cfg(all(test, not(loom)))]
mod exhaustion_tests;
mod fault;
pub mod flush;
pub mod format;
pub mod frame;
mod header;
mod kernel_half;
mod latest;
pub mod lock;
pub mod mutation;
mod object;
pub mod pager;
pub mod platform;
pub mod rcu;
mod reclaim;
mod region;
mod registry;
mod rmap;
pub mod seq;
mod space;
pub mod swap;
pub mod sync;
mod tree;
mod vm;

pub use access::Pinned;
pub use addr::{Frame, PageRange};
pub use backend::{Backend, Native, Slot};
pub use cell::Cell;
pub use check::Inconsistency;
pub use context::MaySleep;
pub use counters::Statistics;
pub use error::Error;
pub use fault::{Access, FaultError};
pub use flush::{Batch, CpuSet, Shot, SpaceId};
pub use kernel_half::KernelSlotError;
pub use object::{Object, ObjectId};
pub use pager::{NoPager, Page, Pager, PagerError};
pub use platform::{MAX_CPUS, Platform};
pub use reclaim::Watermarks;
pub use space::{
    Advice, LockAll, Map, Place, Region, Remap, Sharing, Smaps, Space, Traits, Transaction, Usage,
};
pub use swap::{NoSwap, SwapDevices, SwapUsage};
pub use tree::walk::Translation;
pub use vm::{Guard, Vm};

/// The code of docs/porting.md is true.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/porting.md")]
struct Porting;
