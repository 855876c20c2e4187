//! Objects: memory and files that mappings, read and write share.
//!
//! Guarantee: a page of an object is the same frame for all who map, read or write it, from when it
//! is brought in until it is truncated, or given up while nobody holds it and its pager has its
//! contents. The object ends when no piece, no handle and no fault refers to it, never under a
//! lock; what is dirty then has been handed to the pager.
//!
//! An object is a block of the slab ([`Body`]). Its count is *weighted*: each piece of a layout
//! carries a share, so that splitting a piece writes nothing here; `count` is who refers to it. Its
//! pages hang in a tree (`radix`), whose words (`pages`) come and go without locks. `bring` fills
//! them; `io` reads and writes; `truncate` takes them away from under mappings; `writeback` hands the
//! dirty ones to the pager; `give_up` gives up those that are kept elsewhere; `mappers` is how the
//! last three find entries by a page.
//!
//! A page knows its object and place (`Meta::owner`, `Meta::base`) exactly while it hangs there.

mod bring;
mod count;
mod give_up;
mod io;
mod mappers;
mod pages;
mod radix;
mod truncate;
mod writeback;

pub(crate) use bring::{Cached, bring_back, page, will_need};
pub(crate) use count::{Dropped, end_unused, new_weight, put, put_anywhere, try_get};
pub(crate) use give_up::{Refusal, give_frozen, give_up};
pub(crate) use writeback::{is_dirty, mark_dirty, take_dirty};

use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry};
use crate::lock::SleepLock;
use crate::pager::PagerError;
use crate::platform::Platform;
use crate::sync::{AtomicU32, AtomicU64, Change, Ordering};
use crate::vm::Vm;
use core::fmt;
use core::mem::size_of;
use radix::Radix;

/// log2 of an object's bytes.
const OBJECT_LOG2: u32 = 6;

/// An object can be this long, in bytes, and no longer (Linux's loff_t).
pub(crate) const MOST_BYTES: u64 = i64::MAX as u64;

/// What is kept of an object.
#[repr(C, align(64))]
struct Body {
    /// The next of those that have ended; its retirement's link.
    link: AtomicU64,
    count: AtomicU64,
    /// Its pages, by their number: see `pages`.
    tree: Radix,
    /// Its number with the platform's pager; 0 for memory.
    pager: AtomicU64,
    /// Its length.
    bytes: AtomicU64,
    /// How often it was truncated: who maps a page compares.
    truncations: AtomicU64,
    /// The last number given to an empty slot: see `pages`.
    empties: AtomicU64,
    /// Held by who writes to it, changes its length, or hands a page to the pager.
    writers: SleepLock,
    /// [`COPIES`], and the number of an error that nobody has been told yet.
    flags: AtomicU32,
}

/// It was mapped privately, so spaces may have copies of its pages.
const COPIES: u32 = 1;
/// Where the number of an error is.
const ERROR_SHIFT: u32 = 8;

const _: () = assert!(cfg!(loom) || size_of::<Body>() == 1 << OBJECT_LOG2);

fn body<P: Platform>(vm: &Vm<P>, object: u64) -> &Body {
    let words = vm.words_at(object, size_of::<Body>() / size_of::<AtomicU64>());
    // SAFETY: `make` put a body there: atomics alone, all valid whatever they hold, aligned to 64
    // as blocks of 64 bytes are; the caller has a reference to the object, or a guard.
    unsafe { &*words.as_ptr().cast::<Body>() }
}

impl Body {
    fn pager(&self) -> u64 {
        self.pager.load(Ordering::Relaxed)
    }

    fn len(&self) -> u64 {
        // Acquire: what was written before the object grew is seen.
        self.bytes.load(Ordering::Acquire)
    }

    fn has_copies(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & COPIES != 0
    }

    /// A page could not be handed to the pager when nobody waited for it; the first such error stays
    /// until somebody is told.
    fn note_error(&self, error: PagerError) {
        let noted = |flags| {
            (flags >> ERROR_SHIFT == 0)
                .then_some(flags | error.errno().unsigned_abs() << ERROR_SHIFT)
        };
        self.flags.change(Ordering::Relaxed, noted);
    }

    /// The error that nobody has been told yet, if there is one; from now on somebody has.
    fn take_error(&self) -> Option<PagerError> {
        if self.flags.load(Ordering::Relaxed) >> ERROR_SHIFT == 0 {
            return None;
        }
        let flags = self.flags.fetch_and((1 << ERROR_SHIFT) - 1, Ordering::Relaxed);
        PagerError::from_errno((flags >> ERROR_SHIFT).cast_signed())
    }

    /// How many pages it has, the last one perhaps in part.
    fn pages<F: Format>(&self) -> u64 {
        self.len().div_ceil(F::PAGE_SIZE)
    }
}

/// Memory or a file, to be mapped, read and written. A handle: its clones are the same object,
/// which ends when there is no handle and no mapping of it any more.
///
/// Dropping the last handle, which may happen anywhere, lets it end as soon as somebody who may
/// sleep calls [`Vm::reap`], makes an object or a space, or runs out of memory; [`Object::close`]
/// ends it at once.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{Access, Map, MaySleep, Space, format::{Rights, Sv48}};
/// # let vm = host::Host::<Sv48>::new(1024, 1).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// let memory = vm.object(&mut ms, 10_000, 0)?;
/// memory.write(&mut ms, 9_998, b"tail")?;
/// assert_eq!(memory.len(), 10_002);
///
/// let space = Space::new(&vm, &mut ms)?;
/// let map = Map::anonymous(4096, Rights::READ).shared();
/// let at = space.map_object(&mut ms, map, &memory, 8192)?;
/// let mut bytes = [0; 4];
/// assert_eq!(space.read(&mut ms, at + 9_998 - 8192, &mut bytes), 4);
/// assert_eq!(&bytes, b"tail");
///
/// memory.set_len(&mut ms, 8192)?;
/// assert_eq!(space.read(&mut ms, at, &mut bytes), 0);
/// # Ok::<(), vmspace::Error>(())
/// ```
pub struct Object<'vm, P: Platform> {
    vm: &'vm Vm<P>,
    address: u64,
}

/// What tells an object from others while it lives: [`Object::id`], and what a
/// [`Region`](crate::Region) says is behind it.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// # let space = Space::new(&vm, &mut ms)?;
/// # let rw = Rights::READ | Rights::WRITE;
///
/// let object = vm.object(&mut ms, 4096, 0)?;
/// let at = space.map_object(&mut ms, Map::anonymous(4096, rw), &object, 0)?;
/// assert_eq!(space.next_region(&mut ms, at).unwrap().object, Some(object.id()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectId(pub(crate) u64);

impl<P: Platform> Vm<P> {
    /// An object of `bytes` bytes: memory, zeros at first (`pager` 0), or what the platform's
    /// [`Pager`](crate::Pager) has under that number.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::TooLarge`].
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    ///
    /// let memory = vm.object(&mut ms, 1 << 20, 0)?; // zeros, no pager
    /// assert_eq!((memory.len(), memory.resident()), (1 << 20, 0));
    /// let file = vm.object(&mut ms, 100, 7)?; // what the pager has under 7
    /// assert_eq!(file.pager(), 7);
    /// let longest = vm.object(&mut ms, u64::MAX, 0).map(|_| ());
    /// assert_eq!(longest, Err(Error::TooLarge));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn object(
        &self,
        ms: &mut MaySleep,
        bytes: u64,
        pager: u64,
    ) -> Result<Object<'_, P>, Error> {
        if bytes > MOST_BYTES {
            return Err(Error::TooLarge);
        }
        end_unused(self, ms);
        let address = self.reclaiming(ms, |_| make(self, bytes, pager))?;
        Ok(Object { vm: self, address })
    }
}

impl<'vm, P: Platform> Object<'vm, P> {
    /// The manager.
    pub fn vm(&self) -> &'vm Vm<P> {
        self.vm
    }

    /// Its number with the platform's pager; 0 for memory.
    pub fn pager(&self) -> u64 {
        self.body().pager()
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty)] // a length of 0 is nothing special
    pub fn len(&self) -> u64 {
        self.body().len()
    }

    /// What tells it from other objects while it lives.
    pub fn id(&self) -> ObjectId {
        ObjectId(self.address)
    }

    /// Whether this handle is the only reference. It stays so until the handle is used: mappings
    /// are made from handles, and from other mappings.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let object = vm.object(&mut ms, 4096, 0)?;
    /// assert!(object.is_unshared());
    /// let at = space.map_object(&mut ms, Map::anonymous(4096, rw).shared(), &object, 0)?;
    /// assert!(!object.is_unshared());
    /// space.unmap(&mut ms, at, 4096)?;
    /// assert!(object.is_unshared());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_unshared(&self) -> bool {
        // Acquire: what was done through the references that are gone has been done.
        self.body().count.load(Ordering::Acquire) == 1
    }

    /// Whether the page that holds byte `offset` is in memory.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    ///
    /// let file = vm.object(&mut ms, 16_384, 1)?;
    /// assert!(!file.holds(8192));
    /// file.read(&mut ms, 8192, &mut [0; 10])?;
    /// assert!(file.holds(8192) && file.resident() == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn holds(&self, offset: u64) -> bool {
        pages::is_there(self.vm, self.body(), offset >> P::Format::PAGE_SHIFT)
    }

    /// How many of its pages are in memory.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let object = vm.object(&mut ms, 0x2000, 0)?;
    ///
    /// object.write(&mut ms, 0x1000, b"x")?;
    /// assert_eq!(object.resident(), 1);
    /// assert!(object.holds(0x1fff) && !object.holds(0xfff));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resident(&self) -> u64 {
        let mut from = 0;
        core::iter::from_fn(|| {
            let found = pages::next(self.vm, self.body(), from)?;
            from = found + 1;
            Some(found)
        })
        .filter(|index| pages::is_there(self.vm, self.body(), *index))
        .count() as u64
    }

    /// Gives the handle back; if it was the last reference, the object has ended when this returns.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    ///
    /// let file = vm.object(&mut ms, 4096, 1)?;
    /// let again = file.clone();
    /// file.close(&mut ms);
    /// assert_eq!(again.len(), 4096); // one object, while there is a handle or a mapping
    /// again.close(&mut ms); // its pager has been told by now
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self, ms: &mut MaySleep) {
        put(self.vm, ms, self.address, 1);
        core::mem::forget(self);
    }

    /// It is about to be mapped privately.
    pub(crate) fn expect_copies(&self) {
        // The fence of who maps a page comes after, that of truncation before it looks.
        self.body().flags.fetch_or(COPIES, Ordering::Relaxed);
    }

    /// What its pieces say.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    fn body(&self) -> &'vm Body {
        body(self.vm, self.address)
    }
}

impl<P: Platform> Clone for Object<'_, P> {
    fn clone(&self) -> Self {
        self.body().count.fetch_add(1, Ordering::Relaxed);
        Object { ..*self }
    }
}

impl<P: Platform> Drop for Object<'_, P> {
    fn drop(&mut self) {
        put_anywhere(self.vm, self.address);
    }
}

impl<P: Platform> fmt::Debug for Object<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("pager", &self.pager()).field("len", &self.len()).finish()
    }
}

/// An object with a count of one.
fn make<P: Platform>(vm: &Vm<P>, bytes: u64, pager: u64) -> Option<u64> {
    let address = vm.take_block(OBJECT_LOG2)?;
    let object = body(vm, address);
    if !object.tree.begin(vm) {
        vm.give_block(address, OBJECT_LOG2);
        return None;
    }
    object.pager.store(pager, Ordering::Relaxed);
    object.bytes.store(bytes, Ordering::Relaxed);
    object.truncations.store(0, Ordering::Relaxed);
    object.empties.store(0, Ordering::Relaxed);
    object.flags.store(0, Ordering::Relaxed);
    object.writers.renew();
    object.count.store(1, Ordering::Relaxed);
    Some(address)
}

/// Whether the page at `index` of an object is in memory. The caller has a reference to the object.
pub(crate) fn is_there<P: Platform>(vm: &Vm<P>, object: u64, index: u64) -> bool {
    pages::is_there(vm, body(vm, object), index)
}
