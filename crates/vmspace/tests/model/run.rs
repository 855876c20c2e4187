//! The library and the model side by side: each operation on both, then a look whether they agree.

use super::linux::{self, Access, Arch, Area, EINVAL, Flags, Mm, Objects, READ, Segv, WRITE};
use super::ops::{FILES, LAST, OBJECTS, Op, What, heap};
use crate::host::Host;
use std::mem::ManuallyDrop;
use vmspace::format::{Format, Geometry, Leaf, Rights};
use vmspace::{
    Advice, Error, FaultError, Frame, LockAll, Map, MaySleep, Object, Place, Region, Remap,
    Sharing, Space, Traits, Vm,
};

/// The most spaces alive at once.
const SPACES: usize = 5;

/// How a space in a run came to be: `depth` forks below the first one.
struct Process<'vm, F: Format> {
    /// Ended by hand: after a failure it is left alone, since the library may be in any state.
    space: ManuallyDrop<Space<'vm, Host<F>>>,
    mm: Mm,
    depth: usize,
}

/// A number of frames that is enough for every sequence, in each format.
const FRAMES: u64 = 4096;
const CPUS: usize = 2;
/// How many pages may be locked: a few mappings, not all.
const LOCK_LIMIT: u64 = 200;

pub struct Run<'vm, F: Format> {
    vm: &'vm Vm<Host<F>>,
    ms: MaySleep,
    /// The first of them are the files.
    objects: Objects,
    /// As spaces are, ended by hand.
    files: ManuallyDrop<Vec<Object<'vm, Host<F>>>>,
    processes: Vec<Process<'vm, F>>,
    /// The deepest nesting of forks.
    pub deepest: usize,
}

/// Runs a sequence from nothing to nothing. How deep forks were nested, or what went wrong.
pub fn run<F: Format>(ops: &[Op]) -> Result<usize, String> {
    let vm = Host::<F>::new(FRAMES, CPUS).manager();
    let (frames, objects) = (vm.free_frames(), vm.slab_in_use());
    let mut run = Run::new(&vm)?;
    for (index, op) in ops.iter().enumerate() {
        run.step(op, index).map_err(|why| format!("operation {index}: {why}"))?;
    }
    let deepest = run.deepest;
    run.look_everywhere()?;
    while let Some(process) = run.processes.pop() {
        ManuallyDrop::into_inner(process.space).exit(&mut run.ms);
    }
    run.close_files()?;
    vm.synchronize(&mut run.ms);
    agree("frames free at the end", &vm.free_frames(), &frames)?;
    agree("slab objects left at the end", &vm.slab_in_use(), &objects)?;
    Ok(deepest)
}

/// What Linux on an architecture with this format would fix.
pub fn arch<F: Format>() -> Arch {
    // Whether an entry that is told one right gives another with it.
    let implies = |given: Rights, right| {
        let rights = given | Rights::USER;
        let leaf = Leaf { frame: Frame(0), rights, accessed: true, dirty: false };
        F::as_leaf(0, F::leaf(0, leaf)).is_some_and(|leaf| leaf.rights.contains(right))
    };
    let window = F::USER_PAGES.min(1 << (47 - F::PAGE_SHIFT));
    Arch {
        page_shift: F::PAGE_SHIFT,
        user_pages: F::USER_PAGES,
        map_base: window - ((128 << 20) >> F::PAGE_SHIFT),
        window,
        memory: Host::<F>::new(FRAMES, CPUS).manager().total_frames(),
        execute_reads: implies(Rights::EXECUTE, Rights::READ),
        read_executes: implies(Rights::READ, Rights::EXECUTE),
    }
}

impl<'vm, F: Format> Run<'vm, F> {
    fn new(vm: &'vm Vm<Host<F>>) -> Result<Self, String> {
        // SAFETY: a test's own thread, which holds nothing.
        let mut ms = unsafe { MaySleep::assume() };
        let space = Space::new(vm, &mut ms).map_err(|error| error.to_string())?;
        let heap = heap::<F>() << F::PAGE_SHIFT;
        space.set_break(heap);
        let mut mm = Mm::new(arch::<F>(), heap);
        mm.lock_limit = LOCK_LIMIT;
        space.set_lock_limit(LOCK_LIMIT << F::PAGE_SHIFT);
        let first = Process { space: ManuallyDrop::new(space), mm, depth: 0 };
        let (mut objects, mut files) = (Objects::new(F::PAGE_SHIFT), Vec::new());
        for file in 0..OBJECTS {
            let on_disk = file < FILES;
            if on_disk {
                objects.add_file()
            } else {
                objects.add_memory(0)
            };
            let object = vm.object(&mut ms, 0, if on_disk { pager(file) } else { 0 });
            files.push(object.map_err(|error| error.to_string())?);
        }
        let files = ManuallyDrop::new(files);
        Ok(Run { vm, ms, objects, files, processes: vec![first], deepest: 0 })
    }

    /// Reads all files, and closes them: what was dirty is on disk then.
    fn close_files(&mut self) -> Result<(), String> {
        for (file, object) in std::mem::take(&mut *self.files).into_iter().enumerate() {
            let length = self.objects.len(file);
            let mut found = vec![0; length as usize + 1];
            let read = object.read(&mut self.ms, 0, &mut found).map_err(|e| e.to_string())?;
            if found[..read] != self.objects.read(file, 0, length + 1) {
                return Err(format!("the bytes of file {file} differ at the end"));
            }
            object.close(&mut self.ms);
            self.objects.sync(file, 0, length);
            self.look_at_disk(file)?;
        }
        Ok(())
    }

    fn look_at_disk(&self, file: usize) -> Result<(), String> {
        if file < FILES && self.vm.platform().files.of(pager(file)) != self.objects.stored(file) {
            return Err(format!("the bytes of file {file} on disk differ"));
        }
        Ok(())
    }

    fn look_at_files(&self) -> Result<(), String> {
        for (file, object) in self.files.iter().enumerate() {
            agree("a file's length", &object.len(), &self.objects.len(file))?;
            agree("a file's pages", &object.resident(), &self.objects.resident(file))?;
            self.look_at_disk(file)?;
        }
        Ok(())
    }

    fn step(&mut self, op: &Op, index: usize) -> Result<(), String> {
        let last = self.processes.len() - 1;
        let who = if op.who == LAST { last } else { op.who % self.processes.len() };
        match op.what {
            What::Fork => self.fork(who)?,
            What::Exit => self.exit(who),
            What::ReadFile { .. }
            | What::WriteFile { .. }
            | What::SetLength { .. }
            | What::Sync { .. } => self.use_file(op.what)?,
            what => self.call(who, what)?,
        }
        let who = who.min(self.processes.len() - 1);
        self.look_at_totals(who)?;
        if index.is_multiple_of(4) {
            self.look_at_areas(who)?;
        }
        if index % 32 == 31 {
            self.look_everywhere()?;
        }
        Ok(())
    }

    fn fork(&mut self, who: usize) -> Result<(), String> {
        let parent = &self.processes[who];
        if self.processes.len() == SPACES {
            return Ok(());
        }
        let space = parent.space.fork(&mut self.ms).map_err(|error| error.to_string())?;
        let (mm, depth) = (parent.mm.fork(), parent.depth + 1);
        self.processes.push(Process { space: ManuallyDrop::new(space), mm, depth });
        self.deepest = self.deepest.max(depth);
        Ok(())
    }

    fn exit(&mut self, who: usize) {
        if self.processes.len() > 1 {
            let process = self.processes.remove(who);
            ManuallyDrop::into_inner(process.space).exit(&mut self.ms);
        }
    }

    fn call(&mut self, who: usize, what: What) -> Result<(), String> {
        let Run { ms, objects, processes, files, .. } = self;
        let Process { space, mm, .. } = &mut processes[who];
        let number = |error: Error| error.errno();
        match what {
            What::Map { address, length, prot, flags } => {
                let wanted = mm.mmap(objects, None, address, length, prot, flags);
                let map = library_map(address, length, prot, flags);
                agree("mmap", &space.map(ms, map).map_err(number), &wanted)
            }
            What::MapFile { file, offset, address, length, prot, flags } => {
                let wanted = match offset % F::PAGE_SIZE {
                    0 => {
                        let behind = Some((file, offset >> F::PAGE_SHIFT));
                        mm.mmap(objects, behind, address, length, prot, flags)
                    }
                    _ => Err(EINVAL),
                };
                let map = library_map(address, length, prot, flags);
                let found = space.map_object(ms, map, &files[file], offset).map_err(number);
                agree("mmap of a file", &found, &wanted)
            }
            What::Unmap { address, length } => {
                let found = space.unmap(ms, address, length).map_err(number);
                agree("munmap", &found, &mm.munmap(address, length))
            }
            What::Protect { address, length, prot } => {
                let found = space.protect(ms, address, length, rights(prot)).map_err(number);
                agree("mprotect", &found, &mm.mprotect(address, length, prot))
            }
            What::DontNeed { address, length } => {
                let found = space.advise(ms, address, length, Advice::DontNeed).map_err(number);
                agree("madvise", &found, &mm.dont_need(address, length))
            }
            What::Remap(remap) => {
                let wanted = mm.mremap(objects, remap);
                let found = space.remap(ms, library_remap(remap)).map_err(number);
                agree("mremap", &found, &wanted)
            }
            What::Advise { address, length, advice } => {
                let known = Advice::from_number(advice.into()).expect("one that there is");
                let found = space.advise(ms, address, length, known);
                let wanted = mm.madvise(address, length, advice);
                if advice == 3 && wanted != Err(EINVAL) {
                    mm.will_need(objects, address, length);
                }
                agree("madvise", &found.map_err(number), &wanted)
            }
            What::Populate { address, length, write } => {
                let found = space.populate(ms, address, length, write).map_err(number);
                let wanted = mm.madvise_populate(objects, address, length, write);
                agree("madvise(MADV_POPULATE)", &found, &wanted)
            }
            What::Residency { address, pages } => {
                let mut found = vec![0; pages as usize];
                let there = space.residency(ms, address, &mut found).map_err(number);
                let wanted = mm.mincore(objects, address, pages);
                agree("mincore's length", &there, &Ok(wanted.len()))?;
                agree("mincore", &&found[..wanted.len()], &&wanted[..])
            }
            What::Lock { address, length, flags } => {
                let found = match flags {
                    0 => space.unlock(ms, address, length),
                    _ => space.lock(ms, address, length, flags == 3),
                };
                let wanted = mm.mlock(objects, address, length, flags);
                agree("mlock", &found.map_err(number), &wanted)
            }
            What::LockAll { current, future, on_fault } => {
                let found = match current || future || on_fault {
                    true => space.lock_all(ms, LockAll { current, future, on_fault }),
                    false => space.unlock_all(ms),
                };
                let wanted = mm.mlockall(objects, current, future, on_fault);
                agree("mlockall", &found.map_err(number), &wanted)
            }
            What::Seal { address, length } => {
                let found = space.seal(ms, address, length).map_err(number);
                agree("mseal", &found, &mm.mseal(address, length))
            }
            What::Break { to } => {
                let to = (heap::<F>() << F::PAGE_SHIFT).wrapping_add_signed(to);
                agree("brk", &space.brk(ms, to), &mm.brk(objects, to))
            }
            What::Fault { address, access } => {
                let found = space.fault(ms, address, library(access)).map_err(signal);
                let wanted = mm.fault(objects, address >> F::PAGE_SHIFT, access).map_err(Some);
                agree("fault", &found, &wanted)
            }
            What::Write { address, length, seed } => {
                let bytes: Vec<u8> = (0..length).map(|i| seed.wrapping_add(i as u8)).collect();
                let wanted = mm.write(objects, address, &bytes);
                agree("bytes written", &space.write(ms, address, &bytes), &wanted)
            }
            What::Read { address, length } => {
                let mut found = vec![0; length];
                let read = space.read(ms, address, &mut found);
                agree("bytes read", &&found[..read], &&mm.read(objects, address, length)[..])
            }
            _ => Ok(()),
        }
    }

    fn use_file(&mut self, what: What) -> Result<(), String> {
        let Run { ms, objects, processes, files, .. } = self;
        match what {
            What::ReadFile { file, offset, length } => {
                let mut found = vec![0; length];
                let read = files[file].read(ms, offset, &mut found).map_err(|e| e.to_string())?;
                let wanted = objects.read(file, offset, length as u64);
                agree("read", &&found[..read], &&wanted[..])
            }
            What::WriteFile { file, offset, length, seed } => {
                let bytes: Vec<u8> = (0..length).map(|i| seed.wrapping_add(i as u8)).collect();
                objects.write(file, offset, &bytes);
                agree("write", &files[file].write(ms, offset, &bytes), &Ok(length))
            }
            What::SetLength { file, bytes } => {
                objects.set_len(file, bytes);
                let end = bytes.div_ceil(F::PAGE_SIZE);
                processes.iter_mut().for_each(|process| process.mm.cut_off(file, end));
                agree("ftruncate", &files[file].set_len(ms, bytes), &Ok(()))
            }
            What::Sync { file, start, end } => {
                objects.sync(file, start, end);
                agree("msync", &files[file].sync(ms, start..end), &Ok(()))
            }
            _ => Ok(()),
        }
    }

    fn look_at_totals(&mut self, who: usize) -> Result<(), String> {
        let Process { space, mm, .. } = &self.processes[who];
        let usage = space.usage(&mut self.ms);
        agree("pages locked", &usage.locked, &mm.locked())?;
        agree("pages mapped", &usage.mapped, &mm.mapped())?;
        agree("pages resident", &usage.resident, &mm.resident())
    }

    fn look_at_areas(&mut self, who: usize) -> Result<(), String> {
        let Process { space, mm, .. } = &self.processes[who];
        let known = |file: usize| self.files.get(file).map(Object::id);
        let mut found = Vec::new();
        // Which object it is, the model knows of files alone.
        let mut have_objects = Vec::new();
        space.for_each_region(&mut self.ms, |region| {
            have_objects.push(region.object.is_some());
            let is_file = region.object.is_some_and(|id| self.files.iter().any(|f| f.id() == id));
            found.push(Region { object: region.object.filter(|_| is_file), ..region });
        });
        let wanted: Vec<Region> = mm
            .areas()
            .iter()
            .map(|area| Region {
                start: area.start << F::PAGE_SHIFT,
                end: area.end << F::PAGE_SHIFT,
                rights: rights(area.prot),
                sharing: if area.shared { Sharing::Shared } else { Sharing::Private },
                grows_down: area.grows_down,
                object: area.object.and_then(|(object, _)| known(object)),
                offset: area
                    .object
                    .map_or(0, |(_, origin)| area.start.wrapping_sub(origin) << F::PAGE_SHIFT),
                locked: area.more & linux::LOCKED != 0,
                traits: traits(area),
            })
            .collect();
        let objects: Vec<bool> = mm.areas().iter().map(|area| area.object.is_some()).collect();
        agree("areas", &found, &wanted)?;
        agree("areas with objects", &have_objects, &objects)
    }

    /// Every space: areas, contents of all pages that have any, entries; and the library's own
    /// opinion of its consistency.
    fn look_everywhere(&mut self) -> Result<(), String> {
        for who in 0..self.processes.len() {
            self.look_at_totals(who)?;
            self.look_at_areas(who)?;
            self.look_at_entries(who)?;
            self.look_at_contents(who)?;
        }
        self.look_at_files()?;
        self.vm.check(&mut self.ms).map_err(|what| format!("inconsistent: {what:?}"))
    }

    /// Each resident page has an entry, which allows no more than its area.
    fn look_at_entries(&mut self, who: usize) -> Result<(), String> {
        let Process { space, mm, .. } = &self.processes[who];
        let guard = self.vm.walk(&mut self.ms);
        for page in mm.resident_pages() {
            let Some(entry) = space.translate(&guard, page << F::PAGE_SHIFT) else {
                return Err(format!("page {page:#x} is resident and has no entry"));
            };
            let prot = mm.prot(page).ok_or("a resident page without an area")?;
            if !granted::<F>(prot).contains(entry.rights) {
                return Err(format!("page {page:#x} allows {:?}, its area {prot}", entry.rights));
            }
        }
        // Beside every bound of an area: nothing is mapped where no area is.
        for page in mm.areas().iter().flat_map(|area| [area.start.saturating_sub(1), area.end]) {
            let entry = space.translate(&guard, page << F::PAGE_SHIFT);
            if mm.prot(page).is_none() && entry.is_some() {
                return Err(format!("page {page:#x} is not mapped and has an entry"));
            }
        }
        Ok(())
    }

    fn look_at_contents(&mut self, who: usize) -> Result<(), String> {
        let Process { space, mm, .. } = &mut self.processes[who];
        let pages: Vec<u64> = mm.resident_pages().collect();
        let mut found = vec![0; F::PAGE_SIZE as usize];
        for page in pages {
            let address = page << F::PAGE_SHIFT;
            let read = space.read(&mut self.ms, address, &mut found);
            let wanted = mm.read(&mut self.objects, address, found.len());
            if found[..read] != wanted[..] {
                return Err(format!("the contents of page {page:#x} differ in space {who}"));
            }
        }
        Ok(())
    }
}

fn agree<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: the library says {found:x?}, Linux {wanted:x?}"))
}

/// What a listing says was said of an area.
fn traits(area: &Area) -> Traits {
    let said = [
        (linux::LOCK_ON_FAULT, Traits::LOCK_ON_FAULT),
        (linux::SEALED, Traits::SEALED),
        (linux::DONT_FORK, Traits::DONT_FORK),
        (linux::WIPE_ON_FORK, Traits::WIPE_ON_FORK),
        (linux::RANDOM, Traits::RANDOM),
        (linux::SEQUENTIAL, Traits::SEQUENTIAL),
    ];
    let more = said.iter().filter(|(bit, _)| area.more & bit != 0);
    let mut traits: Traits = more.map(|(_, said)| *said).collect();
    traits.set(Traits::NO_RESERVE, area.no_reserve);
    traits
}

fn rights(prot: u8) -> Rights {
    let mut rights = Rights::empty();
    rights.set(Rights::READ, prot & READ != 0);
    rights.set(Rights::WRITE, prot & WRITE != 0);
    rights.set(Rights::EXECUTE, prot & super::linux::EXECUTE != 0);
    rights
}

/// The rights that the format cannot but give when it gives these.
fn granted<F: Format>(prot: u8) -> Rights {
    let rights = rights(prot) | Rights::USER;
    let leaf = Leaf { frame: Frame(0), rights, accessed: true, dirty: false };
    match F::decode(0, F::leaf(0, leaf)) {
        vmspace::format::Entry::Leaf(leaf) => leaf.rights,
        _ => Rights::empty(),
    }
}

/// A file's number with the pager.
fn pager(file: usize) -> u64 {
    file as u64 + 1
}

fn library_map(address: u64, length: u64, prot: u8, flags: Flags) -> Map {
    Map {
        address,
        sharing: if flags.shared { Sharing::Shared } else { Sharing::Private },
        place: match (flags.fixed, flags.no_replace) {
            (_, true) => Place::FixedNoReplace,
            (true, false) => Place::Fixed,
            (false, false) => Place::Hint,
        },
        grows_down: flags.grows_down,
        no_reserve: flags.no_reserve,
        locked: flags.locked,
        populate: flags.populate,
        ..Map::anonymous(length, rights(prot))
    }
}

fn library(access: Access) -> vmspace::Access {
    match access {
        Access::Read => vmspace::Access::Read,
        Access::Write => vmspace::Access::Write,
        Access::Execute => vmspace::Access::Execute,
    }
}

fn library_remap(remap: super::linux::Remap) -> Remap {
    Remap {
        address: remap.address,
        old_length: remap.old,
        new_length: remap.new,
        may_move: remap.may_move,
        fixed: remap.fixed,
        keep_source: remap.keep_source,
        new_address: remap.to,
    }
}

/// What a fault's refusal is to a program; none when that is no signal of its own.
fn signal(error: FaultError) -> Option<Segv> {
    match error {
        FaultError::NotMapped | FaultError::NotUser => Some(Segv::Maperr),
        FaultError::Denied => Some(Segv::Accerr),
        FaultError::NoPage => Some(Segv::Bus),
        _ => None,
    }
}
