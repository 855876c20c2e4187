//! What a hart remembers of page tables, and under which identifier.
//!
//! Guarantee: a translation is found only under the identifier that it was kept under, and after
//! `drop_page`, `drop_id` or `drop_all` nothing that they name is found again. A hart's TLB is its
//! own: no other thread touches it (they ask: [`crate::shootdown`]).
//!
//! Four rooms. [`lines`]: arrays looked up inline by every access, whatever the TLB's traits.
//! [`store`]: what stands behind them, asked when a line misses: nothing in a normal machine;
//! a map that forgets nothing in a sticky one; and in checking mode the only place there is,
//! since every use must be compared with its entry. [`tables`]: pointers to tables, in a TLB that
//! remembers those. [`ids`]: a space's identifier on this hart, as in x86's PCID scheme: a switch
//! of space changes the identifier and flushes nothing. What is left to chance is drawn in
//! [`crate::adversary`].
//!
//! Entries stand for base pages: a leaf of many pages is kept page by page, with its level, so
//! that naming any page of the leaf drops every piece of it, as hardware does.

pub mod ids;
pub mod lines;
pub mod store;
pub mod tables;

use crate::config::{Config, TlbTraits};
use crate::walker::Table;
use ids::Id;
use lines::Lines;
use store::{Cached, Store};
use tables::Tables;
use vmspace::Access;
use vmspace::format::{Format, Geometry};

/// One hart's TLB.
#[derive(Debug)]
pub struct Tlb<F: Format> {
    /// The inline arrays. Empty for ever in checking mode.
    pub lines: Lines<F>,
    store: Store,
    tables: Option<Tables<F>>,
    /// For each identifier: bit `l` is set when pieces of a leaf at level `l` may be kept.
    large: Vec<u32>,
    /// One bit for each class of pages: set when a page of it has been fetched from.
    code: [u64; CODE_WORDS],
    inline: bool,
}

/// Words of the classes of pages that code may be in.
const CODE_WORDS: usize = 64;

impl<F: Format> Tlb<F> {
    /// An empty one.
    pub fn new(config: &Config) -> Tlb<F> {
        let store = match (config.tlb.contains(TlbTraits::STICKY), config.check) {
            (false, false) => Store::Nothing,
            (false, true) => Store::direct(),
            (true, _) => Store::sticky(config.ids),
        };
        let remembers_tables = config.tlb.contains(TlbTraits::NONLEAF);
        Tlb {
            lines: Lines::new(config.ids),
            store,
            tables: remembers_tables.then(|| Tables::new(config.ids)),
            large: vec![0; config.ids],
            code: [0; CODE_WORDS],
            inline: !config.check,
        }
    }

    /// What the store has kept for a page.
    pub fn find(&self, id: Id, page: u64) -> Option<Cached> {
        self.store.find(id, page)
    }

    /// Keeps what a walk found, beside or instead of what was kept for the page before.
    pub fn keep(&mut self, id: Id, page: u64, cached: Cached) {
        if cached.level > 0 {
            self.large[id.index()] |= 1 << cached.level;
        }
        self.store.insert(id, page, cached);
    }

    /// The lowest table over a page that is remembered.
    pub fn table(&self, id: Id, page: u64) -> Option<Table> {
        self.tables.as_ref()?.find(id, page)
    }

    /// Remembers a table over a page, in a TLB that does.
    pub fn keep_table(&mut self, id: Id, page: u64, table: Table) {
        if let Some(tables) = &mut self.tables {
            tables.insert(id, page, table);
        }
    }

    /// Puts a page of the loaded identifier that is kept, or was just walked, where the inline check
    /// finds it.
    pub fn serve(&mut self, id: Id, page: u64, access: Access, level: usize, host: *mut u8) {
        if access == Access::Execute {
            self.code[page as usize / 64 % CODE_WORDS] |= 1 << (page % 64);
        }
        if self.inline {
            self.lines.fill(id, page, access, level, host);
        }
    }

    /// Whether dropping `page` may drop what instructions were fetched through. Says no only when
    /// they were not.
    pub fn may_hold_code(&self, id: Id, page: u64) -> bool {
        self.large[id.index()] != 0
            || self.code[page as usize / 64 % CODE_WORDS] >> (page % 64) & 1 == 1
    }

    /// Forgets `page` under `id`: the whole leaf, when it came from a large one.
    pub fn drop_page(&mut self, id: Id, page: u64) {
        self.lines.drop_pages(id, page, page + 1, 0);
        self.store.drop_pages(id, page, page + 1, 0);
        let mut levels = self.large[id.index()];
        while levels != 0 {
            let level = levels.trailing_zeros() as usize;
            levels &= levels - 1;
            let start = page & !(F::slot_pages(level) - 1);
            let end = start + F::slot_pages(level);
            self.lines.drop_pages(id, start, end, level);
            self.store.drop_pages(id, start, end, level);
        }
    }

    /// Forgets all pages under `id`.
    pub fn drop_pages(&mut self, id: Id) {
        self.lines.drop_id(id);
        self.store.drop_id(id);
        self.large[id.index()] = 0;
    }

    /// Forgets the tables under `id`.
    pub fn drop_tables(&mut self, id: Id) {
        if let Some(tables) = &mut self.tables {
            tables.drop_id(id);
        }
    }

    /// Forgets all that is kept under `id`.
    pub fn drop_id(&mut self, id: Id) {
        self.drop_pages(id);
        self.drop_tables(id);
    }

    /// Forgets an eighth of what is not sticky, as hardware may at any time; of the inline arrays,
    /// those of `id`.
    pub fn evict(&mut self, id: Id, eighth: usize) {
        self.lines.evict(id, eighth);
        self.store.evict(eighth);
    }

    /// Forgets everything.
    pub fn drop_all(&mut self) {
        if let Some(tables) = &mut self.tables {
            tables.drop_all();
        }
        self.lines.drop_all();
        self.store.drop_all();
        self.large.fill(0);
    }
}

#[cfg(test)]
mod tests;
