//! Frames: their metadata, the allocator, and the slab over them.

pub mod alloc;
pub mod meta;
mod pins;
pub mod references;
pub mod slab;
