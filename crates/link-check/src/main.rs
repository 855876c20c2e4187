//! A kernel's worth of nothing, to see that the library links into one.
//!
//! For targets without an operating system: a [`Platform`](vmspace::Platform) over static memory,
//! and a `_start` that maps, faults, forks and unmaps. It is linked and never run:
//! `cargo build --release -p link-check --target x86_64-unknown-none`. On a host it is an empty
//! program.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(not(target_os = "none"))]
fn main() {}
