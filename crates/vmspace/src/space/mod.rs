//! Spaces: Linux's memory calls over the tree. One file an operation.
//!
//! Guarantee: an operation happens entirely or not at all, but where Linux defines a partial
//! effect; when it returns, its frames are free, its translations are gone from every CPU, and its
//! counts are right. Any number of CPUs may call anything on the same space at once.
//!
//! An operation: checks its arguments; locks its range with a cursor; finds Linux's errors under
//! it; prepares, edits, commits; releases. When memory runs short it lets go of everything, waits
//! for retired memory and starts again ([`Space::edit`]).

mod advise;
mod brk;
mod device;
mod fork;
mod list;
mod map;
mod mlock;
mod place;
mod populate;
mod protect;
mod put;
mod reclaim;
mod remap;
mod residency;
mod seal;
mod size;
mod smaps;
mod stack;
mod transaction;
mod unmap;

pub use advise::Advice;
pub(crate) use fork::{is_device, is_own};
pub use list::{Region, Traits, Usage};
pub use map::{Map, Place, Sharing};
pub use mlock::LockAll;
pub use remap::Remap;
pub use smaps::Smaps;
pub use transaction::Transaction;

use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::error::Error;
use crate::flush::SpaceId;
use crate::format::{Format, Geometry};
use crate::header::{self, Header};
use crate::mutation::Mutation;
use crate::object;
use crate::platform::Platform;
use crate::sync::Ordering;
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking::Cover;
use crate::tree::node::Node;
use crate::tree::walk::{self, Translation};
use crate::vm::{Guard, Vm};

/// Linux's default limit of a stack's size (RLIMIT_STACK), in bytes.
const STACK_LIMIT: u64 = 8 << 20;

/// An address space.
///
/// [`Space::exit`] ends it. One that is dropped, which may happen anywhere, inside a walk too, ends
/// as soon as somebody who may sleep calls [`Vm::reap`], makes or copies a space, or runs out of
/// memory; until then its memory counts as used, and if nobody does before the manager goes, its
/// tables are not released to the backend. Either way no CPU may run in it any more, have its
/// root loaded for good, or remember its [`SpaceId`], which may be another's afterwards.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// let space = Space::new(&vm, &mut ms)?;
/// let at = space.map(&mut ms, Map::anonymous(8192, Rights::READ | Rights::WRITE))?;
///
/// // A CPU runs it: first this, then it loads the root.
/// space.enter(0);
/// let root = space.root();
///
/// // Its trap handler, and what its walker then finds.
/// space.fault(&mut ms, at, Access::Write).expect("it is mapped");
/// let found = space.translate(&vm.walk(&mut ms), at).expect("it is there");
/// assert!(found.rights.contains(Rights::WRITE) && found.dirty);
///
/// space.exit(&mut ms);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Space<'vm, P: Platform> {
    pub(crate) vm: &'vm Vm<P>,
    id: SpaceId,
    root: Frame,
}

impl<'vm, P: Platform> Space<'vm, P> {
    /// An empty space.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    ///
    /// let space = Space::new(&vm, &mut ms)?;
    /// assert_eq!(space.usage(&mut ms), Usage::default());
    /// space.exit(&mut ms);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(vm: &'vm Vm<P>, ms: &mut MaySleep) -> Result<Self, Error> {
        vm.end_dropped(ms);
        let id = vm.reclaiming(ms, |_| header::make(vm))?;
        let level = P::Format::ROOT_LEVEL;
        let root = vm.reclaiming(ms, |_| Node::make(vm, id, level, 0));
        let Ok(root) = root else {
            header::retire(vm, id);
            return Err(Error::OutOfMemory);
        };
        let header = vm.header(id);
        header.root.store(root.frame.0, Ordering::Relaxed);
        header.stack_limit.store(STACK_LIMIT >> P::Format::PAGE_SHIFT, Ordering::Relaxed);
        header.lock_limit.store(u64::MAX, Ordering::Relaxed);
        header.size_limit.store(u64::MAX, Ordering::Relaxed);
        place::init::<P>(&header.place);
        vm.join_registry(id, || vm.copy_kernel_half(root.frame));
        Ok(Space { vm, id, root: root.frame })
    }

    /// Ends the space. No CPU may run in it. Takes no memory.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let frames = vm.free_frames();
    /// let child = space.fork(&mut ms)?;
    /// child.exit(&mut ms);
    /// vm.synchronize(&mut ms);
    /// assert_eq!(vm.free_frames(), frames);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exit(self, ms: &mut MaySleep) {
        let mut gather = Gather::default();
        let skip = Mutation::NoShootdownAtUnmap;
        let cursor =
            Cursor::lock(self.root_node(), ms, &mut gather, self.user(), Cover::Lowest, skip);
        let released = cursor.dismantle();
        // Every CPU has acknowledged: none has the root loaded.
        self.vm.leave_registry(self.id);
        released.release();
        header::retire(self.vm, self.id);
        core::mem::forget(self);
    }

    /// The manager.
    pub fn vm(&self) -> &'vm Vm<P> {
        self.vm
    }

    /// What names the space to the platform.
    pub fn id(&self) -> SpaceId {
        self.id
    }

    /// The root table's frame: what a CPU loads, after [`Space::enter`].
    pub fn root(&self) -> Frame {
        self.root
    }

    /// `cpu` is about to load the root: from now on it takes part in shootdowns, until
    /// [`Vm::leave`].
    pub fn enter(&self, cpu: usize) {
        self.header().active.enter(cpu);
    }

    /// What `address` translates to now, without locks.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    ///
    /// let at = space.map(&mut ms, Map::anonymous(4096, Rights::READ))?;
    /// let guard = vm.walk(&mut ms);
    /// assert!(space.translate(&guard, at).is_none()); // mapped, but never touched
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn translate(&self, guard: &Guard<'_, P>, address: u64) -> Option<Translation> {
        let page = address >> P::Format::PAGE_SHIFT;
        // Another manager's guard guards nothing here.
        if page >= P::Format::USER_PAGES || !core::ptr::eq(guard.vm(), self.vm) {
            return None;
        }
        walk::translate(Node::at(guard.vm(), self.root, P::Format::ROOT_LEVEL), page)
    }

    /// Sets how far a stack may grow (RLIMIT_STACK), in bytes.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let stack = Map { grows_down: true, ..Map::anonymous(0x1000, rw).at(0x7000_0000) };
    /// let stack = space.map(&mut ms, stack)?;
    /// space.set_stack_limit(0x3000);
    /// assert_eq!(space.write(&mut ms, stack - 8, b"pushed"), 6);
    /// let beyond = space.fault(&mut ms, stack - 0x4000, Access::Write);
    /// assert_eq!(beyond, Err(FaultError::NotMapped));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_stack_limit(&self, bytes: u64) {
        self.header().stack_limit.store(bytes >> P::Format::PAGE_SHIFT, Ordering::Relaxed);
    }

    pub(crate) fn header(&self) -> &'vm Header {
        self.vm.header(self.id)
    }

    pub(crate) fn root_node(&self) -> Node<'vm, P> {
        Node::at(self.vm, self.root, P::Format::ROOT_LEVEL)
    }

    /// All that the user may map.
    pub(crate) fn user(&self) -> PageRange {
        PageRange::new(0, P::Format::USER_PAGES)
    }

    /// Locks `range` and runs `edit`, again after waiting for memory when it says `None` (and then
    /// has changed nothing); commits and releases.
    pub(crate) fn edit<R>(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        cover: Cover,
        skip: Mutation,
        mut edit: impl FnMut(&mut Cursor<'vm, '_, P>) -> Option<R>,
    ) -> Result<R, Error> {
        self.edit_within(ms, range, cover, skip, |_| (), |cursor, ()| edit(cursor))
    }

    /// The same, with what `hold` takes in each attempt before the range is locked.
    fn edit_within<H, R>(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        cover: Cover,
        skip: Mutation,
        hold: impl Fn(&mut MaySleep) -> H,
        mut edit: impl FnMut(&mut Cursor<'vm, '_, P>, &H) -> Option<R>,
    ) -> Result<R, Error> {
        self.vm.reclaiming(ms, |ms| {
            let held = hold(ms);
            self.edit_once(ms, range, cover, skip, held, &mut edit)
        })
    }

    /// One attempt. What is `held` goes before anything is given back: pagers find it free.
    fn edit_once<H, R>(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        cover: Cover,
        skip: Mutation,
        held: H,
        edit: impl FnOnce(&mut Cursor<'vm, '_, P>, &H) -> Option<R>,
    ) -> Option<R> {
        let mut gather = Gather::default();
        let mut cursor = Cursor::lock(self.root_node(), ms, &mut gather, range, cover, skip);
        let result = edit(&mut cursor, &held);
        let released = cursor.commit();
        drop(held);
        released.release();
        result
    }

    /// As `edit_within`, for two windows, disjoint and not empty.
    fn edit2_within<H, R>(
        &self,
        ms: &mut MaySleep,
        windows: [PageRange; 2],
        skip: Mutation,
        hold: impl Fn(&mut MaySleep) -> H,
        mut edit: impl FnMut(&mut Cursor<'vm, '_, P>, &H) -> Option<R>,
    ) -> Result<R, Error> {
        self.vm.reclaiming(ms, |ms| {
            let held = hold(ms);
            let mut gather = Gather::default();
            let mut cursor = Cursor::lock2(self.root_node(), ms, &mut gather, windows, skip);
            let result = edit(&mut cursor, &held);
            let released = cursor.commit();
            drop(held);
            released.release();
            result
        })
    }

    /// The pages of a range given in bytes, without those beyond the user's addresses; whether
    /// there are such, which are a hole to whoever changes what is there.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::BeyondUser`] when the range ends beyond all addresses.
    fn pages_within(&self, address: u64, length: u64) -> Result<(PageRange, bool), Error> {
        let page = <P::Format as Geometry>::PAGE_SIZE;
        if !address.is_multiple_of(page) {
            return Err(Error::Misaligned);
        }
        let end = length.checked_next_multiple_of(page).and_then(|l| address.checked_add(l));
        let end = end.ok_or(Error::BeyondUser)? >> P::Format::PAGE_SHIFT;
        let range = PageRange::new(address >> P::Format::PAGE_SHIFT, end);
        let within = range.intersect(self.user());
        Ok((within, within.len() != range.len()))
    }

    /// The pages of a range given in bytes: aligned start, length rounded up.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::BeyondUser`].
    fn pages(&self, address: u64, length: u64) -> Result<PageRange, Error> {
        match self.pages_within(address, length)? {
            (range, false) => Ok(range),
            (_, true) => Err(Error::BeyondUser),
        }
    }
}

impl<P: Platform> Drop for Space<'_, P> {
    fn drop(&mut self) {
        self.vm.note_dropped(self.id);
    }
}

impl<P: Platform> Vm<P> {
    /// Ends the spaces that were dropped, and waits for those that somebody else is ending; then the
    /// objects whose last handle was dropped. Takes no memory.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    ///
    /// let space = Space::new(&vm, &mut ms)?;
    /// drop(space); // where nothing may sleep, say
    /// vm.reap(&mut ms);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reap(&self, ms: &mut MaySleep) {
        self.end_dropped(ms);
        if ms.may_end_others() {
            self.wait_for_reapers();
        }
        object::end_unused(self, ms);
    }

    /// Ends the spaces that were dropped, where that may be done.
    fn end_dropped(&self, ms: &mut MaySleep) {
        if !ms.may_end_others() {
            return;
        }
        self.for_each_dropped(|id| {
            let root = Frame(self.header(id).root.load(Ordering::Relaxed));
            Space { vm: self, id, root }.exit(ms);
        });
    }
}
