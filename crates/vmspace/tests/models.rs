//! The protocol's models: each rule of the tree that a hand-worked interleaving led to, explored.
//!
//! Guarantee: for each scenario, the rule that the library follows has no violation, no deadlock
//! and no livelock in any interleaving of a few threads, and each weaker rule that looks as good
//! has one, whose shortest schedule is printed (`cargo test --test models -- --nocapture`).
//!
//! The models are written against nothing but the [`explorer`]: they say what the protocol is, and
//! stay true or false whatever the library does. A room holds one scenario or two that share a
//! state.

#[path = "models/detach.rs"]
mod detach;
#[path = "models/entry.rs"]
mod entry;
#[path = "models/explorer.rs"]
mod explorer;
#[path = "models/fences.rs"]
mod fences;
#[path = "models/fork.rs"]
mod fork;
#[path = "models/moves.rs"]
mod moves;
#[path = "models/object.rs"]
mod object;
#[path = "models/owed.rs"]
mod owed;
#[path = "models/pins.rs"]
mod pins;
#[path = "models/readers.rs"]
mod readers;
#[path = "models/store_buffer.rs"]
mod store_buffer;
