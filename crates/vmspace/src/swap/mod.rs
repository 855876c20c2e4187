//! Swap: pages of memory that are kept on devices.

mod device;

pub use device::{NoSwap, SwapDevices};
