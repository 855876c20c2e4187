//! What Linux does: an address space as a list of areas and a map of pages, and nothing else.
//!
//! Written from mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2), fork(2) and, where these leave
//! the answer open, from the sources of Linux 6.18, named at each place. It shares no code with the
//! library. Left out, because the library's key for merging has no place for them: VM_ACCOUNT and
//! `anon_vma`, for whose sake Linux sometimes leaves two areas apart that show the same line.

#![allow(dead_code)] // each test crate uses its own part

mod objects;

pub use objects::Objects;

use std::collections::{BTreeMap, BTreeSet};

pub const EPERM: i32 = 1;
pub const EAGAIN: i32 = 11;
pub const ENOMEM: i32 = 12;
pub const EFAULT: i32 = 14;
pub const EEXIST: i32 = 17;
pub const EINVAL: i32 = 22;

pub const READ: u8 = 1;
pub const WRITE: u8 = 2;
pub const EXECUTE: u8 = 4;

/// vm.mmap_min_addr.
const MIN_ADDRESS: u64 = 65_536;
/// `stack_guard_gap` in mm/mmap.c, in pages.
const GUARD_GAP: u64 = 256;

/// A page's bytes that were written; all others are zero.
pub type Page = BTreeMap<u64, u8>;

/// What an architecture fixes.
#[derive(Clone, Copy, Debug)]
pub struct Arch {
    pub page_shift: u32,
    /// TASK_SIZE in pages.
    pub user_pages: u64,
    /// `mmap_base` in pages.
    pub map_base: u64,
    /// DEFAULT_MAP_WINDOW in pages.
    pub window: u64,
    /// `totalram_pages()`.
    pub memory: u64,
    /// What may be fetched may be loaded too (x86 without protection keys).
    pub execute_reads: bool,
    /// What may be loaded may be fetched too (x86 without NX).
    pub read_executes: bool,
}

/// mmap's flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub fixed: bool,
    pub no_replace: bool,
    pub shared: bool,
    pub grows_down: bool,
    pub no_reserve: bool,
    pub locked: bool,
    pub populate: bool,
}

/// mremap's arguments, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remap {
    pub address: u64,
    pub old: u64,
    pub new: u64,
    pub may_move: bool,
    pub fixed: bool,
    pub keep_source: bool,
    pub to: u64,
}

/// A `vm_area_struct`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    pub start: u64,
    pub end: u64,
    pub prot: u8,
    /// The object behind it, and the page at which the object's first page would lie.
    pub object: Option<(usize, u64)>,
    /// VM_SHARED.
    pub shared: bool,
    pub grows_down: bool,
    pub no_reserve: bool,
    /// VM_LOCKED, VM_LOCKONFAULT, VM_SEALED, VM_DONTCOPY, VM_WIPEONFORK, VM_RAND_READ, VM_SEQ_READ.
    pub more: u8,
}

pub const LOCKED: u8 = 1;
pub const LOCK_ON_FAULT: u8 = 2;
const LOCKS: u8 = LOCKED | LOCK_ON_FAULT;
pub const SEALED: u8 = 4;
pub const DONT_FORK: u8 = 8;
pub const WIPE_ON_FORK: u8 = 16;
pub const RANDOM: u8 = 32;
pub const SEQUENTIAL: u8 = 64;

/// madvise's numbers, but for MADV_PAGEOUT: what goes then is not the model's affair (`reclaim.rs`).
pub const ADVICE: [u8; 12] = [0, 1, 2, 3, 4, 8, 10, 11, 18, 19, 20, 24];

impl Area {
    fn merges_with(&self, next: &Area) -> bool {
        self.end == next.start && *self == Area { start: self.start, end: self.end, ..*next }
    }
}

/// Why a fault kills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segv {
    Maperr,
    Accerr,
    /// SIGBUS: the object ends before.
    Bus,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
    Execute,
}

/// An `mm_struct`.
#[derive(Clone)]
pub struct Mm {
    arch: Arch,
    areas: Vec<Area>,
    /// Private pages that are the space's to write: they have a frame.
    private: BTreeMap<u64, Page>,
    /// Pages that the tables map to their object's.
    cached: BTreeSet<u64>,
    /// Pages of private areas that the tables map to the zero page.
    zeros: BTreeSet<u64>,
    /// `def_flags`, and RLIMIT_MEMLOCK in pages.
    future: u8,
    pub lock_limit: u64,
    heap_start: u64,
    heap_break: u64,
    /// RLIMIT_STACK in bytes.
    stack_limit: u64,
}

impl Mm {
    pub fn new(arch: Arch, heap: u64) -> Mm {
        Mm {
            arch,
            areas: Vec::new(),
            private: BTreeMap::new(),
            cached: BTreeSet::new(),
            zeros: BTreeSet::new(),
            future: 0,
            lock_limit: u64::MAX,
            heap_start: heap,
            heap_break: heap,
            stack_limit: 8 << 20,
        }
    }

    fn page_size(&self) -> u64 {
        1 << self.arch.page_shift
    }

    /// PAGE_ALIGN, which wraps.
    fn page_align(&self, bytes: u64) -> u64 {
        bytes.wrapping_add(self.page_size() - 1) & !(self.page_size() - 1)
    }

    fn task_size(&self) -> u64 {
        self.arch.user_pages << self.arch.page_shift
    }

    fn pages(&self, start: u64, end: u64) -> (u64, u64) {
        (start >> self.arch.page_shift, end >> self.arch.page_shift)
    }

    /// `find_vma`: the first area that ends above `page`.
    fn find(&self, page: u64) -> Option<&Area> {
        self.areas.iter().find(|area| area.end > page)
    }

    fn before(&self, page: u64) -> Option<&Area> {
        self.areas.iter().rev().find(|area| area.start < page)
    }

    fn meets(&self, start: u64, end: u64) -> bool {
        self.find(start).is_some_and(|area| area.start < end)
    }

    /// `vm_start_gap`.
    fn start_gap(area: &Area) -> u64 {
        if area.grows_down { area.start.saturating_sub(GUARD_GAP) } else { area.start }
    }

    /// Makes `page` a bound between areas.
    fn split(&mut self, page: u64) {
        let inside = |area: &Area| area.start < page && page < area.end;
        if let Some(index) = self.areas.iter().position(inside) {
            let right = Area { start: page, ..self.areas[index] };
            self.areas[index].end = page;
            self.areas.insert(index + 1, right);
        }
    }

    fn merge(&mut self) {
        let mut merged: Vec<Area> = Vec::with_capacity(self.areas.len());
        for area in self.areas.drain(..) {
            match merged.last_mut() {
                Some(last) if last.merges_with(&area) => last.end = area.end,
                _ => merged.push(area),
            }
        }
        self.areas = merged;
    }

    fn remove(&mut self, start: u64, end: u64) {
        self.split(start);
        self.split(end);
        self.areas.retain(|area| area.end <= start || end <= area.start);
        self.zap(start, end);
    }

    /// `zap_page_range`: the tables forget.
    fn zap(&mut self, start: u64, end: u64) {
        self.private.retain(|page, _| *page < start || end <= *page);
        self.cached.retain(|page| *page < start || end <= *page);
        self.zeros.retain(|page| *page < start || end <= *page);
    }

    fn insert(&mut self, area: Area) {
        let at = self.areas.partition_point(|other| other.start < area.start);
        self.areas.insert(at, area);
        self.merge();
    }

    /// `do_mmap` and `__get_unmapped_area` (mm/mmap.c); `file`: of an object, from a page of it on.
    pub fn mmap(
        &mut self,
        objects: &mut Objects,
        file: Option<(usize, u64)>,
        address: u64,
        length: u64,
        prot: u8,
        flags: Flags,
    ) -> Result<u64, i32> {
        if length == 0 {
            return Err(EINVAL);
        }
        let length = self.page_align(length);
        if length == 0 || length > self.task_size() {
            return Err(ENOMEM);
        }
        let fixed = flags.fixed || flags.no_replace;
        let address = if fixed {
            if address > self.task_size() - length {
                return Err(ENOMEM);
            }
            if !address.is_multiple_of(self.page_size()) {
                return Err(EINVAL);
            }
            // `security_mmap_addr`.
            if address < MIN_ADDRESS {
                return Err(EPERM);
            }
            address
        } else {
            self.unmapped_area(address, length)?
        };
        let (start, end) = self.pages(address, address + length);
        if flags.no_replace && self.meets(start, end) {
            return Err(EEXIST);
        }
        if flags.shared && flags.grows_down {
            return Err(EINVAL);
        }
        // `__vm_enough_memory` with OVERCOMMIT_GUESS; shmem accounts for all of an object, but what
        // is shared of a file is the file's.
        let accountable = if flags.shared { file.is_none() } else { prot & WRITE != 0 };
        if accountable && !flags.no_reserve && end - start > self.arch.memory {
            return Err(ENOMEM);
        }
        if self.has(start, end, SEALED) {
            return Err(EPERM);
        }
        let more = self.future | (u8::from(flags.locked) * LOCKED);
        // `mlock_future_ok`.
        if more & LOCKED != 0 && self.locked() + end - start > self.lock_limit {
            return Err(EAGAIN);
        }
        self.remove(start, end);
        let object = match file {
            Some((object, first)) => Some((object, start.wrapping_sub(first))),
            None => flags.shared.then(|| (objects.add_memory(end - start), start)),
        };
        let Flags { shared, grows_down, no_reserve, .. } = flags;
        self.insert(Area { start, end, prot, object, shared, grows_down, no_reserve, more });
        if flags.populate || more & LOCKED != 0 {
            let _ = self.populate(objects, start, end);
        }
        Ok(address)
    }

    /// `generic_get_unmapped_area_topdown`: the hint if it is free, else the highest free range.
    fn unmapped_area(&self, hint: u64, length: u64) -> Result<u64, i32> {
        // `round_hint_to_min`.
        let hint = match hint & !(self.page_size() - 1) {
            0 => 0,
            hint => hint.max(MIN_ADDRESS),
        };
        if length > self.task_size() - MIN_ADDRESS {
            return Err(ENOMEM);
        }
        if hint != 0 && hint <= self.task_size() - length {
            let (start, end) = self.pages(hint, hint + length);
            let above = self.find(start).map_or(u64::MAX, Mm::start_gap);
            if end <= above && !self.meets(start, end) {
                return Ok(hint);
            }
        }
        let length = length >> self.arch.page_shift;
        // `arch_get_mmap_base`, `arch_get_mmap_end`.
        let Arch { map_base, window, user_pages, .. } = self.arch;
        let above = if hint >> self.arch.page_shift > window { user_pages - window } else { 0 };
        // Linux's last resort goes bottom-up; ours is the highest there too.
        self.topdown(map_base + above, length).or_else(|_| self.topdown(window + above, length))
    }

    /// `unmapped_area_topdown`: where a guard gap reaches into the highest gap, the search goes on
    /// below the guard gap, past areas that may lie in it.
    fn topdown(&self, mut high: u64, length: u64) -> Result<u64, i32> {
        loop {
            let end = self.highest_gap(high, length).ok_or(ENOMEM)?;
            match self.find(end).map(Mm::start_gap) {
                Some(gap) if gap < end => high = gap,
                _ => return Ok((end - length) << self.arch.page_shift),
            }
        }
    }

    /// The end of the highest gap of so many pages below `high`.
    fn highest_gap(&self, high: u64, length: u64) -> Option<u64> {
        let mut end = high;
        for area in self.areas.iter().rev().filter(|area| area.start < high) {
            if end.saturating_sub(area.end) >= length {
                return Some(end);
            }
            end = area.start;
        }
        let lowest = MIN_ADDRESS >> self.arch.page_shift;
        (end.saturating_sub(lowest) >= length).then_some(end)
    }

    /// `do_vmi_munmap`.
    pub fn munmap(&mut self, address: u64, length: u64) -> Result<(), i32> {
        let misaligned = !address.is_multiple_of(self.page_size());
        if misaligned || address > self.task_size() || length > self.task_size() - address {
            return Err(EINVAL);
        }
        let (start, end) = self.pages(address, address + self.page_align(length));
        if start == end {
            return Err(EINVAL);
        }
        if self.has(start, end, SEALED) {
            return Err(EPERM);
        }
        self.remove(start, end);
        Ok(())
    }

    /// Whether an area of the range has the flag.
    fn has(&self, start: u64, end: u64, flag: u8) -> bool {
        self.areas.iter().any(|a| a.start < end && start < a.end && a.more & flag != 0)
    }

    /// `locked_vm`.
    pub fn locked(&self) -> u64 {
        let locked = self.areas.iter().filter(|area| area.more & LOCKED != 0);
        locked.map(|area| area.end - area.start).sum()
    }

    /// `populate_vma_page_range` for each area.
    fn populate(&mut self, objects: &mut Objects, start: u64, end: u64) -> Result<(), i32> {
        let mut page = start;
        while page < end {
            let area = self.area_at(page).ok_or(ENOMEM)?;
            let stop = area.end.min(end);
            if area.more & LOCK_ON_FAULT == 0 {
                let access = match area.prot {
                    0 => return Err(ENOMEM),
                    prot if prot & WRITE != 0 && !area.shared => Access::Write,
                    prot if prot & (READ | WRITE) != 0 => Access::Read,
                    _ => Access::Execute,
                };
                for page in page..stop {
                    self.fault(objects, page, access).map_err(|_| ENOMEM)?;
                }
            }
            page = stop;
        }
        Ok(())
    }

    /// MADV_POPULATE_READ and _WRITE.
    pub fn madvise_populate(
        &mut self,
        objects: &mut Objects,
        address: u64,
        length: u64,
        write: bool,
    ) -> Result<(), i32> {
        if !address.is_multiple_of(self.page_size()) {
            return Err(EINVAL);
        }
        let end = address.checked_add(self.page_align(length)).ok_or(EINVAL)?;
        let (start, end) = self.pages(address, end);
        let (access, needed) =
            if write { (Access::Write, WRITE) } else { (Access::Read, READ | WRITE) };
        for page in start..end {
            let area = self.area_at(page).ok_or(ENOMEM)?;
            if area.prot & needed == 0 {
                return Err(EINVAL);
            }
            self.fault(objects, page, access).map_err(|_| EFAULT)?;
        }
        Ok(())
    }

    /// `do_mlock`, and munlock (`flags` 0).
    pub fn mlock(
        &mut self,
        objects: &mut Objects,
        address: u64,
        length: u64,
        flags: u8,
    ) -> Result<(), i32> {
        let offset = address % self.page_size();
        let length = self.page_align(length + offset);
        let (start, end) = self.pages(address - offset, address - offset + length);
        if start == end {
            return Ok(());
        }
        if flags != 0 {
            let inside: u64 = (start..end)
                .filter(|page| self.area_at(*page).is_some_and(|a| a.more & LOCKED != 0))
                .count() as u64;
            if self.locked() + (end - start) - inside > self.lock_limit {
                return Err(ENOMEM);
            }
        }
        self.split(start);
        self.split(end);
        let mut next = start;
        for area in &mut self.areas {
            if area.start == next && next < end {
                area.more = area.more & !LOCKS | flags;
                next = area.end;
            }
        }
        self.merge();
        if next < end {
            return Err(ENOMEM);
        }
        if flags != 0 { self.populate(objects, start, end) } else { Ok(()) }
    }

    /// mlockall, and munlockall for no flags at all.
    pub fn mlockall(
        &mut self,
        objects: &mut Objects,
        current: bool,
        future: bool,
        on_fault: bool,
    ) -> Result<(), i32> {
        if on_fault && !current && !future {
            return Err(EINVAL);
        }
        if current && self.mapped() > self.lock_limit {
            return Err(ENOMEM);
        }
        let flags = if on_fault { LOCKS } else { LOCKED };
        self.future = if future { flags } else { 0 };
        if future && !current {
            return Ok(());
        }
        let areas = self.areas.iter_mut();
        areas.for_each(|a| a.more = a.more & !LOCKS | if current { flags } else { 0 });
        self.merge();
        if current {
            for area in self.areas.clone() {
                let _ = self.populate(objects, area.start, area.end);
            }
        }
        Ok(())
    }

    /// `do_mseal`.
    pub fn mseal(&mut self, address: u64, length: u64) -> Result<(), i32> {
        if !address.is_multiple_of(self.page_size()) {
            return Err(EINVAL);
        }
        let end = address.checked_add(self.page_align(length)).ok_or(EINVAL)?;
        let (start, end) = self.pages(address, end);
        if (start..end).any(|page| self.area_at(page).is_none()) {
            return Err(ENOMEM);
        }
        self.split(start);
        self.split(end);
        for area in self.areas.iter_mut().filter(|a| start <= a.start && a.end <= end) {
            area.more |= SEALED;
        }
        self.merge();
        Ok(())
    }

    /// `madvise_vma_behavior`, area by area.
    pub fn madvise(&mut self, address: u64, length: u64, advice: u8) -> Result<(), i32> {
        if !address.is_multiple_of(self.page_size()) {
            return Err(EINVAL);
        }
        let aligned = self.page_align(length);
        if length != 0 && aligned == 0 {
            return Err(EINVAL);
        }
        let end = address.checked_add(aligned).ok_or(EINVAL)?;
        let (start, end) = self.pages(address, end);
        if start == end {
            return Ok(());
        }
        self.split(start);
        self.split(end);
        let (mut page, mut result) = (start, Ok(()));
        for index in 0..self.areas.len() {
            let area = self.areas[index];
            if area.end <= start || area.start >= end {
                continue;
            }
            if area.start > page {
                result = Err(ENOMEM);
            }
            page = area.end;
            let (locked, private) = (area.more & LOCKED != 0, !area.shared);
            let discards = matches!(advice, 4 | 8 | 10 | 18 | 24);
            let refusal = match advice {
                _ if discards && area.more & SEALED != 0 && private && area.prot & WRITE == 0 => {
                    EPERM
                }
                4 | 8 | 20 | 21 if locked => EINVAL,
                8 | 18 if area.object.is_some() => EINVAL,
                _ => 0,
            };
            if refusal != 0 {
                self.merge();
                return Err(refusal);
            }
            let more = &mut self.areas[index].more;
            match advice {
                0 => *more &= !(RANDOM | SEQUENTIAL),
                1 => *more = *more & !SEQUENTIAL | RANDOM,
                2 => *more = *more & !RANDOM | SEQUENTIAL,
                4 | 24 => self.zap(area.start, area.end),
                10 => *more |= DONT_FORK,
                11 => *more &= !DONT_FORK,
                18 => *more |= WIPE_ON_FORK,
                19 => *more &= !WIPE_ON_FORK,
                _ => {}
            }
        }
        self.merge();
        if page < end { Err(ENOMEM) } else { result }
    }

    /// `madvise_willneed` for what `madvise` has been asked about.
    pub fn will_need(&self, objects: &mut Objects, address: u64, length: u64) {
        let (start, end) = self.pages(address, address + self.page_align(length));
        for area in self.areas.iter().filter(|area| area.start < end && start < area.end) {
            if let Some((object, origin)) = area.object {
                let pages = [area.start.max(start), area.end.min(end)];
                let [first, last] = pages.map(|page| page.wrapping_sub(origin));
                objects.will_need(object, first..last);
            }
        }
    }

    /// mincore, for each page up to the first hole.
    pub fn mincore(&self, objects: &Objects, address: u64, pages: u64) -> Vec<u8> {
        let start = address >> self.arch.page_shift;
        let resident = |page: u64| {
            let area = self.area_at(page)?;
            let mapped = [&self.cached, &self.zeros].iter().any(|set| set.contains(&page));
            let cached = area.object.is_some_and(|(object, origin)| {
                objects.is_cached(object, page.wrapping_sub(origin))
            });
            Some(u8::from(mapped || cached || self.private.contains_key(&page)))
        };
        (start..start + pages).map_while(resident).collect()
    }

    /// `dup_mmap`.
    pub fn fork(&self) -> Mm {
        let mut child = self.clone();
        for area in &self.areas {
            if area.more & (DONT_FORK | WIPE_ON_FORK) != 0 {
                child.zap(area.start, area.end);
            }
        }
        child.areas.retain(|area| area.more & DONT_FORK == 0);
        child.areas.iter_mut().for_each(|area| area.more &= !LOCKS);
        child.future = 0;
        child.merge();
        child
    }

    /// `do_mremap` of mm/mremap.c. (A fixed place below the lowest address is refused before what is
    /// there is unmapped.)
    pub fn mremap(&mut self, objects: &mut Objects, remap: Remap) -> Result<u64, i32> {
        let to = self.do_mremap(remap)?;
        let (old, new) = (self.page_align(remap.old), self.page_align(remap.new));
        let (start, end) = self.pages(to + old, to + new);
        if start < end && self.has(start, end, LOCKED) {
            let _ = self.populate(objects, start, end);
        }
        Ok(to)
    }

    fn do_mremap(&mut self, remap: Remap) -> Result<u64, i32> {
        let Remap { address, may_move, fixed, keep_source, to, .. } = remap;
        let (old, new) = (self.page_align(remap.old), self.page_align(remap.new));
        let aligned = |address: u64| address.is_multiple_of(self.page_size());
        // `check_mremap_params`.
        if !aligned(address) || new == 0 || new > self.task_size() {
            return Err(EINVAL);
        }
        let implies_place = fixed || keep_source;
        if implies_place {
            let overlaps = address.wrapping_add(old) > to && to.wrapping_add(new) > address;
            let resizes = keep_source && old != new;
            if to > self.task_size() - new || !aligned(to) || !may_move || resizes || overlaps {
                return Err(EINVAL);
            }
        }
        let remap = Remap { old, new, ..remap };
        if fixed && old == new {
            return self.remap_move(remap);
        }
        let area = self.check_prep_vma(remap)?;
        if implies_place {
            return self.move_vma(remap, area);
        }
        let page = address >> self.arch.page_shift;
        let (old_pages, new_pages) = (old >> self.arch.page_shift, new >> self.arch.page_shift);
        if new <= old {
            if new < old {
                self.munmap(address + new, old - new)?;
            }
            return Ok(address);
        }
        // `vrm_can_expand_in_place`.
        let (end, grown) = (page + old_pages, page + new_pages);
        if area.end == end && grown <= self.arch.user_pages && !self.meets(end, grown) {
            self.afford(&area, new_pages - old_pages)?;
            self.insert(Area { start: end, end: grown, ..area });
            return Ok(address);
        }
        if may_move { self.move_vma(remap, area) } else { Err(ENOMEM) }
    }

    fn area_at(&self, page: u64) -> Option<Area> {
        self.find(page).filter(|area| area.start <= page).copied()
    }

    fn check_prep_vma(&self, remap: Remap) -> Result<Area, i32> {
        let Remap { address, old, new, fixed, keep_source, .. } = remap;
        let area = self.area_at(address >> self.arch.page_shift).ok_or(EFAULT)?;
        if area.more & SEALED != 0 {
            return Err(EPERM);
        }
        if new > old || fixed || keep_source {
            if old == 0 && !area.shared {
                return Err(EINVAL);
            }
            if old > (area.end << self.arch.page_shift) - address {
                return Err(EFAULT);
            }
            let more = new.saturating_sub(old) >> self.arch.page_shift;
            if more != 0 && area.more & LOCKED != 0 && self.locked() + more > self.lock_limit {
                return Err(EAGAIN);
            }
        }
        Ok(area)
    }

    fn afford(&self, area: &Area, pages: u64) -> Result<(), i32> {
        let counted = !area.shared && area.prot & WRITE != 0 && !area.no_reserve;
        if counted && pages > self.arch.memory { Err(ENOMEM) } else { Ok(()) }
    }

    /// `remap_move`: every area in the range, each as far.
    fn remap_move(&mut self, remap: Remap) -> Result<u64, i32> {
        let shift = self.arch.page_shift;
        let (mut page, end) = self.pages(remap.address, remap.address + remap.old);
        let by = remap.to.wrapping_sub(remap.address);
        let mut seen = false;
        while let Some(area) = self.find(page).copied().filter(|a| page < end && a.start < end) {
            let (start, stop) = (area.start.max(page), area.end.min(end));
            if !seen && start > page {
                return Err(EFAULT);
            }
            let (address, length) = (start << shift, (stop - start) << shift);
            if area.more & SEALED != 0 {
                return Err(EPERM);
            }
            let to = address.wrapping_add(by);
            self.move_vma(Remap { address, old: length, new: length, to, ..remap }, area)?;
            (page, seen) = (stop, true);
        }
        if seen { Ok(remap.to) } else { Err(EFAULT) }
    }

    /// `mremap_to` and `move_vma`.
    fn move_vma(&mut self, remap: Remap, area: Area) -> Result<u64, i32> {
        let shift = self.arch.page_shift;
        let (old, new) = (remap.old >> shift, remap.new >> shift);
        let to = match remap.fixed {
            true if remap.to < MIN_ADDRESS => return Err(EPERM),
            true => remap.to,
            // `vrm_set_new_addr`; a hint too low is none.
            false => {
                let hint = if remap.keep_source { remap.to } else { 0 };
                self.unmapped_area(if hint < MIN_ADDRESS { 0 } else { hint }, remap.new)?
            }
        };
        self.afford(&area, if remap.keep_source { new } else { new.saturating_sub(old) })?;
        let (from, start) = (remap.address >> shift, to >> shift);
        let by = start.wrapping_sub(from);
        if self.has(start, start + new, SEALED) || self.has(from, from + old, SEALED) {
            return Err(EPERM);
        }
        self.remove(start, start + new);
        // `move_page_tables`.
        let moved = from..from + old.min(new);
        for page in moved {
            if let Some(bytes) = self.private.remove(&page) {
                self.private.insert(page.wrapping_add(by), bytes);
            }
            for set in [&mut self.cached, &mut self.zeros] {
                if set.remove(&page) {
                    set.insert(page.wrapping_add(by));
                }
            }
        }
        if remap.keep_source {
            // `dontunmap_complete`; Linux takes the locks of all of the area.
            self.split(from);
            self.split(from + old);
            let left = self.areas.iter_mut().find(|area| area.start == from);
            left.into_iter().for_each(|area| area.more &= !LOCKS);
        } else if old != 0 {
            self.remove(from, from + old);
        }
        let object = area.object.map(|(object, origin)| (object, origin.wrapping_add(by)));
        self.insert(Area { start, end: start + new, object, ..area });
        Ok(to)
    }

    /// `do_mprotect_pkey`: up to the first hole.
    pub fn mprotect(&mut self, address: u64, length: u64, prot: u8) -> Result<(), i32> {
        if !address.is_multiple_of(self.page_size()) {
            return Err(EINVAL);
        }
        if length == 0 {
            return Ok(());
        }
        let Some(end) = address.checked_add(self.page_align(length)).filter(|end| *end > address)
        else {
            return Err(ENOMEM);
        };
        let (start, end) = self.pages(address, end);
        self.split(start);
        self.split(end);
        let (mut next, mut sealed) = (start, false);
        for area in &mut self.areas {
            if area.start == next && next < end && !sealed {
                sealed = area.more & SEALED != 0;
                if !sealed {
                    area.prot = prot;
                    next = area.end;
                }
            }
        }
        self.merge();
        match sealed {
            true => Err(EPERM),
            false if next < end => Err(ENOMEM),
            false => Ok(()),
        }
    }

    /// MADV_DONTNEED.
    pub fn dont_need(&mut self, address: u64, length: u64) -> Result<(), i32> {
        self.madvise(address, length, 4)
    }

    /// The system call brk in mm/mmap.c, and `do_brk_flags`.
    pub fn brk(&mut self, objects: &mut Objects, to: u64) -> u64 {
        if to < self.heap_start || to > self.task_size() {
            return self.heap_break;
        }
        let aligned = (self.page_align(self.heap_break), self.page_align(to));
        let (old, new) = self.pages(aligned.0, aligned.1);
        if new < old {
            // "mapping intersects with an existing non-brk vma": or with none at all.
            if !self.meets(new, old) || self.has(new, old, SEALED) {
                return self.heap_break;
            }
            self.remove(new, old);
        } else if new > old {
            // One page stays free between the heap and what is above it.
            let gap = self.find(old).map_or(u64::MAX, Mm::start_gap);
            if new + 1 > gap || new > self.arch.user_pages || new - old > self.arch.memory {
                return self.heap_break;
            }
            if self.future != 0 && self.locked() + new - old > self.lock_limit {
                return self.heap_break;
            }
            self.insert(Area {
                start: old,
                end: new,
                prot: READ | WRITE,
                object: None,
                shared: false,
                grows_down: false,
                no_reserve: false,
                more: self.future,
            });
            if self.future != 0 {
                let _ = self.populate(objects, old, new);
            }
        }
        self.heap_break = to;
        to
    }

    /// `do_user_addr_fault` with `expand_stack`.
    pub fn fault(&mut self, objects: &mut Objects, page: u64, access: Access) -> Result<(), Segv> {
        if page >= self.arch.user_pages {
            return Err(Segv::Maperr);
        }
        if !self.meets(page, page + 1) {
            self.expand_stack(page).ok_or(Segv::Maperr)?;
        }
        let area = *self.find(page).expect("found or grown");
        // `protection_map`: writing implies reading.
        let needed = match access {
            Access::Read if self.arch.execute_reads => READ | WRITE | EXECUTE,
            Access::Read => READ | WRITE,
            Access::Write => WRITE,
            Access::Execute if self.arch.read_executes => READ | WRITE | EXECUTE,
            Access::Execute => EXECUTE,
        };
        if area.prot & needed == 0 {
            return Err(Segv::Accerr);
        }
        if self.private.contains_key(&page) {
            return Ok(());
        }
        let copies = access == Access::Write && !area.shared;
        let mut contents = Page::new();
        if let Some((object, origin)) = area.object {
            let index = page.wrapping_sub(origin);
            // What is mapped is not asked for again.
            if !self.cached.contains(&page) && !objects.bring(object, index) {
                return Err(Segv::Bus);
            }
            if copies {
                contents = objects.page(object, index).cloned().unwrap_or_default();
            }
        }
        if copies {
            self.private.insert(page, contents);
            self.cached.remove(&page);
            self.zeros.remove(&page);
        } else if area.object.is_some() {
            self.cached.insert(page);
        } else {
            self.zeros.insert(page);
        }
        Ok(())
    }

    /// `unmap_mapping_range` with `even_cows`, for truncation: from page `end` of the object on.
    pub fn cut_off(&mut self, object: usize, end: u64) {
        for area in self.areas.clone() {
            if let Some((_, origin)) = area.object.filter(|(other, _)| *other == object) {
                let first = (area.start..area.end).find(|page| page.wrapping_sub(origin) >= end);
                first.into_iter().for_each(|first| self.zap(first, area.end));
            }
        }
    }

    /// `expand_downwards` and `acct_stack_growth`. None: it may not.
    fn expand_stack(&mut self, page: u64) -> Option<()> {
        let stack = *self.find(page)?;
        if !stack.grows_down || page << self.arch.page_shift < MIN_ADDRESS {
            return None;
        }
        if let Some(below) = self.before(page) {
            let accessible = below.prot != 0;
            if !below.grows_down && accessible && page - below.end < GUARD_GAP {
                return None;
            }
        }
        if (stack.end - page) << self.arch.page_shift > self.stack_limit {
            return None;
        }
        if stack.more & LOCKED != 0 && self.locked() + stack.start - page > self.lock_limit {
            return None;
        }
        let grown = self.areas.iter_mut().find(|area| area.start == stack.start)?;
        grown.start = page;
        self.merge();
        Some(())
    }

    /// The page's bytes, as they are seen through it.
    fn bytes<'a>(&'a self, objects: &'a Objects, page: u64) -> Option<&'a Page> {
        let (object, origin) = match self.private.get(&page) {
            Some(own) => return Some(own),
            None => self.find(page)?.object?,
        };
        objects.page(object, page.wrapping_sub(origin))
    }

    /// What copying out finds, up to the first page that cannot be read.
    pub fn read(&mut self, objects: &mut Objects, address: u64, length: usize) -> Vec<u8> {
        let (mut at, end) = (address, address + length as u64);
        let mut found = Vec::with_capacity(length);
        while at < end {
            let page = at >> self.arch.page_shift;
            if self.fault(objects, page, Access::Read).is_err() {
                break;
            }
            let offset = at % self.page_size();
            let part = (end - at).min(self.page_size() - offset);
            let from = found.len();
            found.resize(from + part as usize, 0);
            for (place, byte) in self.bytes(objects, page).into_iter().flatten() {
                if (offset..offset + part).contains(place) {
                    found[from + (place - offset) as usize] = *byte;
                }
            }
            at += part;
        }
        found
    }

    /// Copying in: how many bytes, up to the first page that cannot be written.
    pub fn write(&mut self, objects: &mut Objects, address: u64, from: &[u8]) -> usize {
        for (done, byte) in from.iter().enumerate() {
            let at = address + done as u64;
            let (page, offset) = (at >> self.arch.page_shift, at % self.page_size());
            if (done == 0 || offset == 0) && self.fault(objects, page, Access::Write).is_err() {
                return done;
            }
            let object = self.find(page).and_then(|area| area.object);
            let bytes = match (self.private.get_mut(&page), object) {
                (None, Some((object, origin))) => {
                    objects.page_mut(object, page.wrapping_sub(origin))
                }
                (own, _) => own,
            };
            bytes.expect("faulted in").insert(offset, *byte);
        }
        from.len()
    }

    /// /proc/PID/maps.
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    pub fn mapped(&self) -> u64 {
        self.areas.iter().map(|area| area.end - area.start).sum()
    }

    /// Pages with a frame of their own or of an object.
    pub fn resident(&self) -> u64 {
        (self.private.len() + self.cached.len()) as u64
    }

    pub fn resident_pages(&self) -> impl Iterator<Item = u64> {
        self.private.keys().chain(&self.cached).copied()
    }

    pub fn prot(&self, page: u64) -> Option<u8> {
        self.find(page).filter(|area| area.start <= page).map(|area| area.prot)
    }
}
