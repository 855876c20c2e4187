//! The k-th request for memory fails, for every k, through every operation.
//!
//! Guarantee tested: an operation that says that memory ran out has not happened (listing, totals,
//! entries and contents are what they were, but for what its documentation names), everything is
//! consistent, the same operation succeeds when there is memory again, and after the end of all
//! spaces nothing has leaked. An operation that succeeds although requests failed has done all of
//! its work.
//!
//! Each scenario is set up from nothing for each k, in two ways: from the k-th request on all fail,
//! as when memory is gone; and the k-th alone fails, as when somebody frees some in time.

#[macro_use]
#[path = "../tests/host/mod.rs"]
mod host;

use crate::format::{Format, Geometry, Rights};
use crate::mutation::{Failing, fail_allocations};
use crate::{
    Access, Advice, Error, FaultError, Frame, LockAll, Map, MaySleep, Object, Pinned, Region,
    Remap, Space, Usage, Vm,
};
use host::Host;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

const RW: Rights = Rights::READ.union(Rights::WRITE);

/// What scenarios work in.
struct World<'vm, F: Format> {
    vm: &'vm Vm<Host<F>>,
    ms: MaySleep,
    spaces: Vec<Space<'vm, Host<F>>>,
    pinned: Vec<Pinned<'vm, Host<F>>>,
    objects: Vec<Object<'vm, Host<F>>>,
}

/// What can be seen of a space without changing it.
#[derive(Clone, PartialEq, Debug)]
struct View {
    regions: Vec<Region>,
    usage: Usage,
    /// For each page that is mapped to a frame: what the entry allows, and a digest of its bytes.
    pages: BTreeMap<u64, (Rights, u64)>,
}

/// What may differ after an operation has failed.
#[derive(Clone, Copy, PartialEq)]
enum Keeps {
    /// Nothing.
    All,
    /// Entries may deny writing until the next fault.
    AllButWriting,
    /// A stack may have grown: the page that it grew for is another step.
    AllButGrowth,
}

/// Whether an operation may ask for memory at all.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    Asks,
    Never,
}

struct Scenario<F: Format> {
    name: &'static str,
    keeps: Keeps,
    memory: Memory,
    before: for<'vm> fn(&mut World<'vm, F>),
    what: for<'vm> fn(&mut World<'vm, F>) -> bool,
}

/// Bytes of so many pages.
fn pages<F: Format>(n: u64) -> u64 {
    n << F::PAGE_SHIFT
}

/// The address of a page, counted from a bound of tables of two levels (of one, where there are
/// no three) with room for a table below.
fn at<F: Format>(page: i64) -> u64 {
    (2 * F::slot_pages(F::ROOT_LEVEL.min(2))).wrapping_add_signed(page) << F::PAGE_SHIFT
}

impl<'vm, F: Format> World<'vm, F> {
    fn new(vm: &'vm Vm<Host<F>>) -> Self {
        // SAFETY: a test's own thread, which holds nothing.
        let ms = unsafe { MaySleep::assume() };
        World { vm, ms, spaces: Vec::new(), pinned: Vec::new(), objects: Vec::new() }
    }

    /// One more space, like the others' parents.
    fn space(&mut self) -> bool {
        let space = Space::new(self.vm, &mut self.ms);
        space.map(|space| self.spaces.push(space)).is_ok()
    }

    fn fork(&mut self) -> bool {
        let child = self.spaces[0].fork(&mut self.ms);
        child.map(|child| self.spaces.push(child)).is_ok()
    }

    fn map(&mut self, page: i64, n: u64) -> bool {
        self.map_as(Map::anonymous(pages::<F>(n), RW).at(at::<F>(page)))
    }

    fn share(&mut self, page: i64, n: u64) -> bool {
        self.map_as(Map::anonymous(pages::<F>(n), RW).at(at::<F>(page)).shared())
    }

    fn map_as(&mut self, map: Map) -> bool {
        self.spaces[0].map(&mut self.ms, Map { no_reserve: true, ..map }).is_ok()
    }

    /// One more object of so many pages.
    fn object(&mut self, pager: u64, n: u64) -> bool {
        let object = self.vm.object(&mut self.ms, pages::<F>(n), pager);
        object.map(|object| self.objects.push(object)).is_ok()
    }

    /// Maps the first object from its second page on.
    fn map_object(&mut self, page: i64, n: u64, shared: bool) -> bool {
        let map = Map::anonymous(pages::<F>(n), RW).at(at::<F>(page));
        let map = if shared { map.shared() } else { map };
        let World { spaces, objects, ms, .. } = self;
        spaces[0].map_object(ms, map, &objects[0], pages::<F>(1)).is_ok()
    }

    /// Writes to a page of the first object.
    fn write_object(&mut self, page: u64) -> bool {
        let written = self.objects[0].write(&mut self.ms, pages::<F>(page), b"written");
        written.is_ok_and(|n| n == 7)
    }

    fn unmap(&mut self, page: i64, n: u64) -> bool {
        self.spaces[0].unmap(&mut self.ms, at::<F>(page), pages::<F>(n)).is_ok()
    }

    /// To `to`, or wherever there is room (and in place if that is longer) for 0.
    fn remap(&mut self, page: i64, n: i64, to: i64, new: i64) -> bool {
        let remap = Remap {
            address: at::<F>(page),
            old_length: pages::<F>(n as u64),
            new_length: pages::<F>(new as u64),
            may_move: true,
            fixed: to != 0,
            keep_source: false,
            new_address: at::<F>(to),
        };
        // Where it goes depends on what is free, not on memory.
        match self.spaces[0].remap(&mut self.ms, remap) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, Error::OutOfMemory);
                false
            }
        }
    }

    fn protect(&mut self, page: i64, n: u64, rights: Rights) -> bool {
        self.spaces[0].protect(&mut self.ms, at::<F>(page), pages::<F>(n), rights).is_ok()
    }

    fn fault(&mut self, page: i64, access: Access) -> bool {
        self.fault_of(0, page, access)
    }

    fn fault_of(&mut self, space: usize, page: i64, access: Access) -> bool {
        match self.spaces[space].fault(&mut self.ms, at::<F>(page), access) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error, FaultError::OutOfMemory);
                false
            }
        }
    }

    /// Writes each page's number into it.
    fn touch(&mut self, page: i64, n: i64) {
        for page in page..page + n {
            let bytes = page.to_le_bytes();
            assert_eq!(self.spaces[0].write(&mut self.ms, at::<F>(page), &bytes), bytes.len());
        }
    }

    fn pin(&mut self, page: i64, write: bool) -> bool {
        let pinned = self.spaces[0].pin(&mut self.ms, at::<F>(page), write);
        pinned.map(|pinned| self.pinned.push(pinned)).is_ok()
    }

    fn views(&mut self) -> Vec<View> {
        let World { vm, ms, spaces, .. } = self;
        spaces.iter().map(|space| view(vm, space, ms)).collect()
    }

    /// Ends everything; nothing is left.
    fn end(mut self, frames: u64) {
        self.pinned.clear();
        self.objects.clear();
        for space in self.spaces.drain(..) {
            space.exit(&mut self.ms);
        }
        self.vm.synchronize(&mut self.ms);
        assert_eq!(self.vm.slab_in_use(), 0, "slab objects leaked");
        assert_eq!(self.vm.free_frames(), frames, "frames leaked");
    }
}

fn view<F: Format>(vm: &Vm<Host<F>>, space: &Space<'_, Host<F>>, ms: &mut MaySleep) -> View {
    let mut regions = Vec::new();
    // An object that is made again may lie elsewhere.
    space.for_each_region(ms, |region| regions.push(Region { object: None, ..region }));
    let usage = space.usage(ms);
    let guard = vm.walk(ms);
    let mut found = BTreeMap::new();
    for region in &regions {
        // The ends are looked at where it is too large to look at whole.
        let look = pages::<F>(700).min(region.end - region.start);
        let ends = [region.start..region.start + look, region.end - look..region.end];
        for address in ends.into_iter().flat_map(|end| end.step_by(F::PAGE_SIZE as usize)) {
            if let Some(entry) = space.translate(&guard, address) {
                found.insert(address, (entry.rights, digest(vm, entry.frame)));
            }
        }
    }
    View { regions, usage, pages: found }
}

/// A digest of a frame's bytes; of its number, where it is not the manager's.
fn digest<F: Format>(vm: &Vm<Host<F>>, frame: Frame) -> u64 {
    let mut hasher = DefaultHasher::new();
    match vm.generation(frame) {
        None => frame.hash(&mut hasher),
        Some(_) => {
            let at = crate::Platform::frame_ptr(vm.platform(), frame);
            // SAFETY: a frame of the manager's, which nothing else touches while this test looks.
            unsafe { std::slice::from_raw_parts(at, F::PAGE_SIZE as usize) }.hash(&mut hasher);
        }
    }
    hasher.finish()
}

impl Keeps {
    /// Whether `now` is what a failed operation may leave of `before`.
    fn allows(self, before: &View, now: &View) -> bool {
        match self {
            Keeps::All => before == now,
            Keeps::AllButWriting => {
                let fewer = |(rights, digest): (Rights, u64)| (rights - Rights::WRITE, digest);
                let pages = |view: &View| -> Vec<_> {
                    view.pages.iter().map(|(page, what)| (*page, fewer(*what))).collect()
                };
                before.regions == now.regions
                    && before.usage == now.usage
                    && pages(before) == pages(now)
            }
            Keeps::AllButGrowth => {
                before.regions.len() == now.regions.len()
                    && before.usage.resident == now.usage.resident
                    && before.pages == now.pages
            }
        }
    }
}

fn new_manager<F: Format>() -> Vm<Host<F>> {
    let mut host = Host::<F>::new(512, 1);
    host.files.on_page_in = Some(Box::new(|_, _, index| Ok(index as u8 + 1)));
    host.manager()
}

/// What the operation leaves when nothing fails.
fn undisturbed<F: Format>(scenario: &Scenario<F>) -> Vec<View> {
    let vm = new_manager();
    let frames = vm.free_frames();
    let mut world = World::new(&vm);
    (scenario.before)(&mut world);
    assert!((scenario.what)(&mut world), "{} fails with all memory", scenario.name);
    let views = world.views();
    world.end(frames);
    views
}

/// One round; false: no request failed any more.
fn disturbed<F: Format>(scenario: &Scenario<F>, failing: Failing, wanted: &[View]) -> bool {
    let vm = new_manager();
    let frames = vm.free_frames();
    let mut world = World::new(&vm);
    (scenario.before)(&mut world);
    let before = world.views();
    let (done, failed) = fail_allocations(failing, || (scenario.what)(&mut world));
    let name = scenario.name;
    vm.check(&mut world.ms).unwrap_or_else(|what| panic!("{name}, {failing:?}: {what:?}"));
    if !done {
        assert!(failed > 0, "{name} fails though no request did");
        let now = world.views();
        assert_eq!(before.len(), now.len(), "{name}, {failing:?}");
        for (before, now) in before.iter().zip(&now) {
            let kept = scenario.keeps.allows(before, now);
            assert!(kept, "{name}, {failing:?}: was {before:#x?}\nis {now:#x?}");
        }
        assert!((scenario.what)(&mut world), "{name}, {failing:?}: fails again, with memory");
        vm.check(&mut world.ms).unwrap_or_else(|what| panic!("{name}, {failing:?}: {what:?}"));
    }
    assert_eq!(world.views(), wanted, "{name}, {failing:?}");
    assert!(scenario.memory == Memory::Asks || failed == 0, "{name} asks for memory");
    world.end(frames);
    failed > 0
}

/// More requests than any operation makes.
const ENOUGH: u64 = 1000;

fn an_operation_is_half_done_or_leaks_when_memory_runs_out<F: Format>() {
    let mut asked = 0;
    for scenario in scenarios::<F>() {
        let wanted = undisturbed(&scenario);
        for way in [Failing::From, Failing::Only] {
            let rounds = (0..ENOUGH).take_while(|k| disturbed(&scenario, way(*k), &wanted)).count();
            assert!((rounds as u64) < ENOUGH, "{} never succeeds", scenario.name);
            asked += rounds;
        }
    }
    println!("{}: {asked} failing requests", F::NAME);
}

in_every_format!(an_operation_is_half_done_or_leaks_when_memory_runs_out);

fn empty<F: Format>(world: &mut World<'_, F>) {
    world.space();
}

/// A space with a touched range over a bound of two levels of tables.
fn touched<F: Format>(world: &mut World<'_, F>) {
    world.space();
    world.map(-8, 16);
    world.touch(-6, 12);
}

/// The same, shared.
fn shared<F: Format>(world: &mut World<'_, F>) {
    world.space();
    world.share(-8, 16);
    world.touch(-6, 12);
}

/// Everything that a fork copies: touched, zero, pinned and shared pages, a stack, a device.
fn everything<F: Format>(world: &mut World<'_, F>) {
    touched(world);
    world.share(40, 600);
    world.touch(600, 3);
    world.fault(-8, Access::Read);
    world.pin(-6, true);
    world.pin(600, false);
    device(world, 2000);
}

/// As many pieces as the root takes: the next bound pushes them down.
fn crowd<F: Format>(world: &mut World<'_, F>) {
    world.space();
    for page in 0..21 {
        world.map(16 + 3 * page, 1);
        world.share(17 + 3 * page, 1);
    }
}

/// A file of ten pages, mapped shared, three of them touched.
fn mapped_object<F: Format>(world: &mut World<'_, F>) {
    world.space();
    world.object(1, 10);
    world.map_object(-4, 8, true);
    world.touch(-4, 3);
}

/// Memory of one page that was written to.
fn memory_object<F: Format>(world: &mut World<'_, F>) {
    world.space();
    world.object(0, 1);
    world.write_object(0);
}

/// Two whole tables of private memory below and above a bound of two levels, and two of shared memory.
fn whole<F: Format>(world: &mut World<'_, F>) {
    world.space();
    let table = F::table_pages(0) as i64;
    world.map(-table, 2 * table as u64);
    world.share(2 * table - 8, table as u64 + 16);
    for page in [-table, -1, 0, table - 1, 2 * table - 8, 2 * table, 3 * table - 1, 3 * table] {
        world.touch(page, 1);
    }
}

/// A frame beyond the manager's.
fn foreign<F: Format>() -> Frame {
    Frame(1 << (F::FRAME_BITS - 1))
}

/// Device frames in leaves as large as the format allows.
fn large<F: Format>(world: &mut World<'_, F>) {
    world.space();
    let (length, first) = (2 * pages::<F>(F::slot_pages(1)), foreign::<F>());
    world.spaces[0].map_device(&mut world.ms, at::<F>(0), length, first, RW).unwrap();
}

/// A page that eight spaces map, so that its records fill a block.
fn many<F: Format>(world: &mut World<'_, F>) {
    shared(world);
    for _ in 0..7 {
        assert!(world.fork());
    }
    world.spaces[7].advise(&mut world.ms, at::<F>(0), pages::<F>(1), Advice::DontNeed).unwrap();
}

fn device<F: Format>(world: &mut World<'_, F>, page: i64) -> bool {
    let (length, first) = (pages::<F>(1100), foreign::<F>());
    world.spaces[0].map_device(&mut world.ms, at::<F>(page), length, first, RW).is_ok()
}

fn stack<F: Format>(world: &mut World<'_, F>) {
    world.space();
    let map = Map { grows_down: true, ..Map::anonymous(pages::<F>(2), RW).at(at::<F>(2)) };
    world.map_as(map);
    world.touch(3, 1);
}

/// A scenario whose failure leaves everything, and whose operation may ask for memory.
fn scenario<F: Format>(
    name: &'static str,
    before: for<'vm> fn(&mut World<'vm, F>),
    what: for<'vm> fn(&mut World<'vm, F>) -> bool,
) -> Scenario<F> {
    Scenario { name, keeps: Keeps::All, memory: Memory::Asks, before, what }
}

fn scenarios<F: Format>() -> Vec<Scenario<F>> {
    let mut all = ranges();
    all.extend(faults());
    all.extend(objects());
    all.extend(others());
    all
}

fn ranges<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario("a new space", |_| {}, |w| w.space()),
        scenario("map", empty, |w| w.map(-8, 16)),
        scenario("map shared", empty, |w| w.share(-8, 16)),
        scenario("map anywhere", touched, |w| w.map_as(Map::anonymous(pages::<F>(3), RW))),
        scenario("map over touched pages", touched, |w| w.map(-4, 8)),
        scenario("map shared over touched pages", touched, |w| w.share(-4, 8)),
        scenario("map over shared pages", shared, |w| w.map(-4, 8)),
        scenario("map over whole tables", touched, |w| w.map(-700, 1400)),
        scenario("map in a crowd", crowd, |w| w.share(30, 1)),
        scenario("unmap with two splits", touched, |w| w.unmap(-4, 8)),
        scenario("unmap of shared pages with two splits", shared, |w| w.unmap(-4, 8)),
        scenario("unmap in a crowd", crowd, |w| w.unmap(30, 9)),
        scenario("protect with two splits", touched, |w| w.protect(-4, 8, Rights::READ)),
        scenario("protect of shared pages", shared, |w| w.protect(-4, 8, Rights::READ)),
        scenario("protect in a crowd", crowd, |w| w.protect(31, 1, Rights::READ)),
        scenario("unmap in a large leaf", large, |w| w.unmap(5, 2)),
        scenario("protect in a large leaf", large, |w| w.protect(5, 2, Rights::READ)),
        scenario("move of pages into a table of others", touched, |w| w.remap(-6, 9, 30, 9)),
        scenario("move of pages without tables", touched, |w| w.remap(-6, 12, 5000, 12)),
        scenario("move over touched pages", touched, |w| w.remap(-8, 7, 0, 7)),
        scenario("move of shared pages", shared, |w| w.remap(-6, 9, 5000, 9)),
        scenario("move anywhere, longer", shared, |w| w.remap(-6, 10, 0, 20)),
        scenario("growth in place", touched, |w| w.remap(-8, 16, 0, 3000)),
        scenario("shrinking", touched, |w| w.remap(-8, 16, 0, 3)),
        scenario("move in a crowd", crowd, |w| w.remap(31, 1, 5000, 1)),
        scenario("move into a crowd", crowd, |w| w.remap(31, 1, 40, 1)),
        scenario("move of whole tables", whole, |w| {
            let table = F::table_pages(0) as i64;
            w.remap(-table, 2 * table, 5 * table, 2 * table)
        }),
        scenario("move of whole shared tables, and of pages", whole, |w| {
            let table = F::table_pages(0) as i64;
            w.remap(2 * table - 8, table + 16, 7 * table - 8, table + 16)
        }),
        scenario("sealing with two splits", touched, |w| {
            w.spaces[0].seal(&mut w.ms, at::<F>(-4), pages::<F>(8)).is_ok()
        }),
        scenario("advice with two splits", touched, |w| {
            w.spaces[0].advise(&mut w.ms, at::<F>(-4), pages::<F>(8), Advice::DontFork).is_ok()
        }),
        scenario("locking as touched, with two splits", touched, |w| {
            w.spaces[0].lock(&mut w.ms, at::<F>(-4), pages::<F>(8), true).is_ok()
        }),
        scenario(
            "unlocking with two splits",
            |w| {
                touched(w);
                w.spaces[0].lock(&mut w.ms, at::<F>(-8), pages::<F>(16), true).unwrap();
            },
            |w| w.spaces[0].unlock(&mut w.ms, at::<F>(-4), pages::<F>(8)).is_ok(),
        ),
        scenario("locking all to come, as touched", crowd, |w| {
            let all = LockAll { current: true, future: true, on_fault: true };
            w.spaces[0].lock_all(&mut w.ms, all).is_ok()
        }),
        Scenario {
            memory: Memory::Never,
            ..scenario("what pages are resident", everything, |w| {
                w.spaces[0].residency(&mut w.ms, at::<F>(-8), &mut [0; 16]) == Ok(16)
            })
        },
        scenario("one more mapping of shared pages", shared, |w| w.remap(-4, 0, 9, 3)),
        Scenario {
            memory: Memory::Never,
            ..scenario("unmap without a split", touched, |w| w.unmap(-8, 16))
        },
        Scenario {
            memory: Memory::Never,
            ..scenario("don't-need", touched, |w| {
                let all = pages::<F>(16);
                w.spaces[0].advise(&mut w.ms, at::<F>(-8), all, Advice::DontNeed).is_ok()
            })
        },
    ]
}

fn faults<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario(
            "a write fault without tables",
            |w| {
                w.space();
                w.map(-8, 16);
            },
            |w| w.fault(0, Access::Write),
        ),
        scenario(
            "a read fault without tables",
            |w| {
                w.space();
                w.map(-8, 16);
            },
            |w| w.fault(0, Access::Read),
        ),
        scenario("a write fault in a leaf", touched, |w| w.fault(-8, Access::Write)),
        scenario(
            "a write fault after zeros",
            |w| {
                touched(w);
                w.fault(-8, Access::Read);
            },
            |w| w.fault(-8, Access::Write),
        ),
        scenario("a fault of a shared page", shared, |w| w.fault(-8, Access::Read)),
        scenario(
            "a fault of a page of a large object, without tables",
            |w| {
                w.space();
                w.share(-8, 70_000);
            },
            |w| w.fault(60_000, Access::Write),
        ),
        scenario("a fault of a page that many map", many, |w| w.fault_of(7, 0, Access::Read)),
        scenario(
            "a fault that the pager fills",
            |w| {
                w.space();
                w.object(1, 8);
                w.map_object(-4, 8, true);
            },
            |w| w.fault(1, Access::Read),
        ),
        scenario(
            "a fault that copies an object's page",
            |w| {
                w.space();
                w.object(1, 9);
                w.map_object(-4, 8, false);
            },
            |w| w.fault(1, Access::Write),
        ),
        scenario(
            "a write fault over an object's page",
            |w| {
                w.space();
                w.object(1, 9);
                w.map_object(-4, 8, false);
                w.fault(1, Access::Read);
            },
            |w| w.fault(1, Access::Write),
        ),
        scenario(
            "copy-on-write",
            |w| {
                touched(w);
                w.fork();
            },
            |w| w.fault(0, Access::Write),
        ),
        Scenario {
            memory: Memory::Never,
            ..scenario(
                "a write fault that finds the page its own",
                |w| {
                    touched(w);
                    w.protect(0, 1, Rights::READ);
                    w.protect(0, 1, RW);
                },
                |w| w.fault(0, Access::Write),
            )
        },
        Scenario {
            keeps: Keeps::AllButGrowth,
            ..scenario("stack growth", stack, |w| w.fault(-20, Access::Write))
        },
    ]
}

fn objects<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario("an object", empty, |w| w.object(0, 5)),
        scenario("an object mapped shared", mapped_object, |w| w.map_object(20, 4, true)),
        scenario("an object mapped privately", mapped_object, |w| w.map_object(20, 4, false)),
        scenario("a write to memory", memory_object, |w| w.write_object(70_000)),
        scenario("a read of a file", mapped_object, |w| {
            let mut bytes = [0];
            let read = w.objects[0].read(&mut w.ms, pages::<F>(5), &mut bytes);
            read == Ok(1) && bytes == [6]
        }),
        Scenario {
            memory: Memory::Never,
            ..scenario("a write to a file", mapped_object, |w| w.write_object(3))
        },
        Scenario {
            memory: Memory::Never,
            ..scenario("truncation", mapped_object, |w| {
                w.objects[0].set_len(&mut w.ms, pages::<F>(2)).is_ok()
            })
        },
        Scenario {
            memory: Memory::Never,
            ..scenario("sync", mapped_object, |w| {
                w.touch(-4, 1);
                w.objects[0].sync(&mut w.ms, 0..u64::MAX).is_ok()
            })
        },
    ]
}

fn others<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario(
            "brk up",
            |w| {
                touched(w);
                w.spaces[0].set_break(at::<F>(8));
            },
            |w| {
                let to = at::<F>(11) + 5;
                w.spaces[0].brk(&mut w.ms, to) == to
            },
        ),
        scenario(
            "brk down",
            |w| {
                w.space();
                w.spaces[0].set_break(at::<F>(-8));
                w.spaces[0].brk(&mut w.ms, at::<F>(40));
                w.touch(-6, 12);
            },
            |w| w.spaces[0].brk(&mut w.ms, at::<F>(0)) == at::<F>(0),
        ),
        Scenario { keeps: Keeps::AllButWriting, ..scenario("fork", everything, |w| w.fork()) },
        Scenario { keeps: Keeps::AllButWriting, ..scenario("a second fork", many, |w| w.fork()) },
        scenario("pin for writing", touched, |w| w.pin(-8, true)),
        scenario("pin for reading", shared, |w| w.pin(-8, false)),
        scenario("reserve", touched, |w| {
            w.spaces[0].reserve(&mut w.ms, at::<F>(-4), pages::<F>(8), RW).is_ok()
        }),
        scenario("a mapping of device frames", touched, |w| device(w, 300)),
        scenario(
            "a transaction's set",
            |w| {
                w.space();
                w.spaces[0].reserve(&mut w.ms, at::<F>(-8), pages::<F>(16), RW).unwrap();
            },
            |w| {
                let (from, length) = (at::<F>(-8), pages::<F>(16));
                let set = w.spaces[0].transaction(&mut w.ms, from, length, |range| {
                    range.set(at::<F>(3), foreign::<F>(), RW)
                });
                set.is_ok()
            },
        ),
        Scenario {
            memory: Memory::Never,
            ..scenario("exit", everything, |w| {
                w.pinned.clear();
                w.spaces.pop().unwrap().exit(&mut w.ms);
                true
            })
        },
    ]
}
