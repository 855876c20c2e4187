//! Frames: their metadata, the allocator, and the slab over them.

pub mod alloc;
pub mod meta;
pub mod references;
pub mod slab;
