//! Mapping files, and msync(2).
//!
//! The order in which mmap(2) finds what is wrong is Linux's: the offset, the descriptor, the
//! lengths, how the file was opened, what it is.

use vmspace::format::{Format, Geometry, Rights};
use vmspace::{Map, Region, Sharing};

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::devices::Device;
use crate::files::inode::number_of;
use crate::files::memory::{SEAL_FUTURE_WRITE, SEAL_WRITE};
use crate::files::node::Node;
use crate::files::{Description, FileKind, flag};

const MAP_TYPE: u64 = 15;
const MAP_SHARED_VALIDATE: u64 = 3;
/// Flags that MAP_SHARED_VALIDATE knows: those of old, MAP_FIXED_NOREPLACE among them.
const MAP_KNOWN: u64 = 0x1f_f9ff;

const MS_ASYNC: u64 = 1;
const MS_INVALIDATE: u64 = 2;
const MS_SYNC: u64 = 4;

impl<F: Format> Call<'_, '_, F> {
    /// mmap of a file.
    pub(super) fn map_file(&mut self, map: Map) -> Outcome {
        let [_, _, _, flags, number, offset] = self.args;
        if offset % F::PAGE_SIZE != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.with_file(number, |call, file| {
            if file.has(flag::PATH) {
                return Err(Errno::EBADF.into());
            }
            if map.length == 0 {
                return Err(Errno::EINVAL.into());
            }
            let end = map.length.checked_add(offset).filter(|end| *end <= i64::MAX as u64);
            end.ok_or(Errno::EOVERFLOW)?;
            if flags & MAP_TYPE == MAP_SHARED_VALIDATE && flags & !MAP_KNOWN != 0 {
                return Err(Errno::EOPNOTSUPP.into());
            }
            let stores = map.sharing == Sharing::Shared && map.rights.contains(Rights::WRITE);
            if !file.is_readable() || stores && !file.is_writable() {
                return Err(Errno::EACCES.into());
            }
            let never_write = map.sharing == Sharing::Shared && !file.is_writable();
            let map = Map { never_write, ..map };
            call.mapping(&map, |call| call.map_open_file(map, file, offset, stores))
        })
    }

    fn map_open_file(
        &mut self,
        map: Map,
        file: &Description,
        offset: u64,
        stores: bool,
    ) -> Outcome {
        let space = &self.task.space;
        let mapped = match &file.kind {
            FileKind::Device(Device::Zero) => space.map(self.ms, map),
            FileKind::File(_) if map.grows_down => return Err(Errno::EINVAL.into()),
            FileKind::File(inode) => {
                if let Node::Memory(node) = &inode.node
                    && stores
                {
                    node.check_seals(SEAL_WRITE | SEAL_FUTURE_WRITE)?;
                }
                let object = self.kernel.object(inode)?;
                let mapped = space.map_object(self.ms, map, &object, offset);
                object.close(self.ms);
                mapped
            }
            _ => return Err(Errno::ENODEV.into()),
        };
        Ok(mapped.map_err(number_of)?)
    }

    pub(super) fn msync(&mut self) -> Outcome {
        let [address, length, flags, ..] = self.args;
        let known = MS_ASYNC | MS_INVALIDATE | MS_SYNC;
        let both = flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC;
        if flags & !known != 0 || both || address % F::PAGE_SIZE != 0 {
            return Err(Errno::EINVAL.into());
        }
        let length = length.wrapping_add(F::PAGE_SIZE - 1) & !(F::PAGE_SIZE - 1);
        let end = address.checked_add(length).ok_or(Errno::ENOMEM)?;
        let (mut at, mut hole) = (address, false);
        while at < end {
            let region = self.task.space.next_region(self.ms, at);
            let Some(region) = region.filter(|region| region.start < end) else {
                hole = true;
                break;
            };
            if region.locked && flags & MS_INVALIDATE != 0 {
                return Err(Errno::EBUSY.into());
            }
            hole |= region.start > at;
            let start = region.start.max(at);
            at = region.end.min(end);
            if flags & MS_SYNC != 0 && region.sharing == Sharing::Shared {
                self.sync_region(&region, start, at)?;
            }
        }
        if hole { Err(Errno::ENOMEM.into()) } else { Ok(0) }
    }

    /// Writes what was stored to a part of a shared mapping.
    fn sync_region(&mut self, region: &Region, start: u64, end: u64) -> Result<(), Stop> {
        let found = region.object.and_then(|object| self.kernel.inode_of(object));
        let Some((inode, object)) = found else { return Ok(()) };
        let offset = region.offset + (start - region.start);
        let result = object.sync(self.ms, offset..offset + (end - start));
        object.close(self.ms);
        result.map_err(number_of)?;
        Ok(inode.sync_host(true)?)
    }
}
