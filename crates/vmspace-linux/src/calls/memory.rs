//! Calls about memory: Linux's arguments to the library's operations.

use std::sync::atomic::Ordering;

use vmspace::format::{Format, Geometry, Rights};
use vmspace::{Map, Place, Remap, Sharing};

use super::{Call, Outcome};
use crate::Errno;

const PROT_ALL: u64 = 7;

const MAP_SHARED: u64 = 1;
const MAP_PRIVATE: u64 = 2;
const MAP_SHARED_VALIDATE: u64 = 3;
const MAP_TYPE: u64 = 15;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_GROWSDOWN: u64 = 0x100;
const MAP_LOCKED: u64 = 0x2000;
const MAP_NORESERVE: u64 = 0x4000;
const MAP_POPULATE: u64 = 0x8000;
const MAP_NONBLOCK: u64 = 0x1_0000;
const MAP_HUGETLB: u64 = 0x4_0000;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

const MREMAP_MAYMOVE: u64 = 1;
const MREMAP_FIXED: u64 = 2;
const MREMAP_DONTUNMAP: u64 = 4;

/// Linux's errno for a refusal of the library.
pub(super) fn errno(error: vmspace::Error) -> Errno {
    Errno::new(error.errno())
}

/// PROT_READ, PROT_WRITE and PROT_EXEC; what may be written may be read on RISC-V.
fn rights(prot: u64) -> Rights {
    let mut rights = Rights::USER;
    rights.set(Rights::READ, prot & 3 != 0);
    rights.set(Rights::WRITE, prot & 2 != 0);
    rights.set(Rights::EXECUTE, prot & 4 != 0);
    rights
}

/// Where the last page of a range ends.
fn page_end<F: Format>(address: u64, length: u64) -> u64 {
    address.saturating_add(length).saturating_add(F::PAGE_SIZE - 1) & !(F::PAGE_SIZE - 1)
}

impl<F: Format> Call<'_, '_, F> {
    pub(super) fn brk(&mut self) -> Outcome {
        self.kernel.counts.sample(self.kernel.vm);
        let space = &self.task.space;
        let (to, end) = (self.args[0], space.heap_end());
        if to > end && space.check_mappings(self.ms).is_err() {
            return Ok(end);
        }
        Ok(space.brk(self.ms, to))
    }

    pub(super) fn mmap(&mut self) -> Outcome {
        let [_, length, _, flags, ..] = self.args;
        let sharing = match flags & MAP_TYPE {
            MAP_PRIVATE => Sharing::Private,
            MAP_SHARED | MAP_SHARED_VALIDATE => Sharing::Shared,
            _ => return Err(Errno::EINVAL.into()),
        };
        if length != 0 {
            self.task.space.check_mappings(self.ms)?;
        }
        if flags & MAP_ANONYMOUS == 0 {
            return self.map_file(self.wanted(sharing));
        }
        if flags & MAP_TYPE == MAP_SHARED_VALIDATE {
            // Only files have flags to be validated.
            return Err(Errno::EINVAL.into());
        }
        if flags & MAP_HUGETLB != 0 {
            self.kernel.counts.refuse("mmap with MAP_HUGETLB");
            return Err(Errno::ENOMEM.into());
        }
        let map = self.wanted(sharing);
        self.mapping(&map, |call| Ok(call.task.space.map(call.ms, map).map_err(errno)?))
    }

    /// Makes a mapping, perhaps over the last one of a file.
    pub(super) fn mapping(
        &mut self,
        map: &Map,
        make: impl FnOnce(&mut Self) -> Outcome,
    ) -> Outcome {
        let length = if map.place == Place::Fixed { map.length } else { 0 };
        self.replacing(map.address, length, make)
    }

    /// Makes a change by which what is mapped in a range may go; files that nothing shows any more then
    /// go too.
    fn replacing(
        &mut self,
        address: u64,
        length: u64,
        change: impl FnOnce(&mut Self) -> Outcome,
    ) -> Outcome {
        let range = address..page_end::<F>(address, length);
        let files = self.kernel.mapped(self.ms, &self.task.space, range);
        let outcome = change(self);
        if !files.is_empty() {
            self.kernel.drop_unmapped(self.ms, files);
        }
        outcome
    }

    /// What mmap's arguments ask for.
    fn wanted(&self, sharing: Sharing) -> Map {
        let [address, length, prot, flags, ..] = self.args;
        let place = match flags {
            _ if flags & MAP_FIXED_NOREPLACE != 0 => Place::FixedNoReplace,
            _ if flags & MAP_FIXED != 0 => Place::Fixed,
            _ => Place::Hint,
        };
        Map {
            address,
            sharing,
            place,
            grows_down: flags & MAP_GROWSDOWN != 0,
            no_reserve: flags & MAP_NORESERVE != 0,
            locked: flags & MAP_LOCKED != 0,
            populate: flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE,
            ..Map::anonymous(length, rights(prot))
        }
    }

    /// ENOMEM where there are too many mappings to split those at the ends of a range.
    pub(super) fn check_splits(&mut self, address: u64, length: u64) -> Result<(), Errno> {
        let end = page_end::<F>(address, length);
        self.task.space.check_splits(self.ms, &[address, end])
    }

    /// The same for a hole: only one in the middle of a mapping makes one more.
    fn check_hole(&mut self, address: u64, length: u64) -> Result<(), Errno> {
        let end = page_end::<F>(address, length);
        let space = &self.task.space;
        let around = space.next_region(self.ms, address).is_some_and(|region| region.end > end);
        if around { space.check_splits(self.ms, &[address]) } else { Ok(()) }
    }

    pub(super) fn munmap(&mut self) -> Outcome {
        let [address, length, ..] = self.args;
        self.kernel.counts.sample(self.kernel.vm);
        self.check_hole(address, length)?;
        self.replacing(address, length, |call| {
            call.task.space.unmap(call.ms, address, length).map_err(errno)?;
            Ok(0)
        })
    }

    pub(super) fn mprotect(&mut self) -> Outcome {
        let [address, length, prot, ..] = self.args;
        if address % F::PAGE_SIZE != 0 || prot & !PROT_ALL != 0 {
            return Err(Errno::EINVAL.into());
        }
        if length == 0 {
            return Ok(0);
        }
        self.check_splits(address, length)?;
        self.task.space.protect(self.ms, address, length, rights(prot)).map_err(errno)?;
        Ok(0)
    }

    pub(super) fn mremap(&mut self) -> Outcome {
        let [address, old_length, new_length, flags, new_address, _] = self.args;
        if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.kernel.counts.sample(self.kernel.vm);
        let mut remap = Remap {
            address,
            old_length,
            new_length,
            may_move: flags & MREMAP_MAYMOVE != 0,
            fixed: flags & MREMAP_FIXED != 0,
            keep_source: flags & MREMAP_DONTUNMAP != 0,
            new_address,
        };
        self.check_remap(&mut remap)?;
        let over = if remap.fixed { new_length } else { 0 };
        self.replacing(address, old_length, |call| {
            call.replacing(new_address, over, |call| {
                Ok(call.task.space.remap(call.ms, remap).map_err(errno)?)
            })
        })
    }

    /// ENOMEM where there are too many mappings for it; what could grow only elsewhere may not move then.
    fn check_remap(&mut self, remap: &mut Remap) -> Result<(), Errno> {
        let Remap { address, old_length, new_length, .. } = *remap;
        let (old, new) = (page_end::<F>(0, old_length), page_end::<F>(0, new_length));
        let space = &self.task.space;
        if remap.fixed || remap.keep_source {
            let stay = if remap.keep_source { old } else { 0 };
            return space.check_move(self.ms, address..address.saturating_add(stay));
        }
        if new < old {
            return self.check_hole(address.wrapping_add(new), old - new);
        }
        remap.may_move = remap.may_move && new > old && space.may_move(self.ms);
        Ok(())
    }

    /// The query, and the barriers that an interrupt of every hart gives: a thread that runs
    /// elsewhere passes a fence whenever its quota ends, but not by the time that this returns, so
    /// only the query is there, and says that nothing is.
    pub(super) fn membarrier(&mut self) -> Outcome {
        match self.args[0] {
            0 => Ok(0),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// Makes every hart look at its code again: this one and the idle ones before they run
    /// anything, the others at their next taken branch.
    pub(super) fn flush_code(&mut self) -> Outcome {
        self.kernel.code.fetch_add(1, Ordering::SeqCst);
        let platform = self.kernel.vm.platform();
        (0..platform.harts()).for_each(|hart| platform.kick(hart));
        Ok(0)
    }
}
