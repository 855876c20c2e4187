//! The machine that vmspace runs on in a process: memory, harts, TLBs, shootdowns.
//!
//! Each hart is a host thread that interpretes RISC-V; every access goes through a TLB and a
//! walker over the tables that the library builds in this memory. The instruction set knows
//! nothing of the tables' format, and the tables nothing of it.
//!
//! | module | what is done there |
//! |---|---|
//! | [`config`] | what is built, and why it was refused |
//! | [`memory`] | guest-physical memory: from a frame to host memory |
//! | [`walker`] | the walk over the library's tables; accessed and dirty |
//! | [`tlb`] | what a hart remembers, under which identifier |
//! | [`adversary`] | what it forgets, walks for and puts off by chance |
//! | [`shootdown`] | how it is made to forget |
//! | [`mmu`] | one hart's translation: TLB, walk, answer |
//! | [`check`] | each cached translation that is used, against its entry |
//! | [`ledger`] | which translations harts may hold: break-before-make |
//! | [`hart`] | a hart on a host thread: load, run |
//! | [`parking`] | sleeping on a word |
//! | [`platform`] | all of it as a [`vmspace::Platform`] |
//! | [`clock`] | what time it is |
//! | [`random`] | numbers drawn from a seed |
//! | [`riscv`] | the instruction set |
//! | [`statistics`] | what is counted |

pub mod adversary;
mod bus;
pub mod check;
pub mod clock;
pub mod config;
pub mod hart;
pub mod ledger;
pub mod memory;
pub mod mmu;
pub mod parking;
pub mod platform;
pub mod random;
pub mod riscv;
pub mod shootdown;
pub mod statistics;
mod sync;
pub mod tlb;
pub mod walker;

pub use check::Violation;
pub use clock::Clock;
pub use config::{Config, MachineError, TlbTraits, least_memory};
pub use hart::HartContext;
pub use mmu::{AddressSpace, Manager};
pub use platform::{Hardware, MachinePlatform};
pub use statistics::Statistics;
