//! The tree: the page tables, and the layouts that say what each range is.
//!
//! There is no second structure beside the page table. A *node* is a table with its metadata
//! (`node`); its *layout* says what the slots without a child are (`layout`, `store`, `inherit`).
//! Changes are made through a *cursor*, which holds the locks of all nodes that a range touches
//! (`locking`, `cursor`, `entries`, `moving`); `walk` reads without locks; `release` takes what a
//! cursor took out.

pub(crate) mod cursor;
pub(crate) mod entries;
pub(crate) mod gather;
mod inherit;
pub(crate) mod layout;
pub(crate) mod locking;
pub(crate) mod moving;
pub(crate) mod node;
pub(crate) mod release;
mod store;
pub mod walk;
