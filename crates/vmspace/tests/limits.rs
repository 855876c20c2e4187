//! How much a space may map, and lock.

mod host;

use host::Host;
use vmspace::format::{Rights, Sv48};
use vmspace::{Access, Error, FaultError, Map, MaySleep, Remap, Space};

const PAGE: u64 = 4096;
const RW: Rights = Rights::READ.union(Rights::WRITE);

fn token() -> MaySleep {
    // SAFETY: a test's own thread, which holds nothing.
    unsafe { MaySleep::assume() }
}

#[test]
fn a_limit_that_a_call_does_not_ask_is_passed() {
    let vm = Host::<Sv48>::new(1024, 1).manager();
    let (ms, space) = (&mut token(), Space::new(&vm, &mut token()).unwrap());
    let top = 0x5000_0000;
    let stack = Map { grows_down: true, ..Map::anonymous(PAGE, RW).at(top - PAGE) };
    space.map(ms, stack).unwrap();
    space.set_break(0x10_0000);
    let at = space.map(ms, Map::anonymous(8 * PAGE, RW)).unwrap();
    space.set_size_limit(11 * PAGE + 17);
    assert_eq!(space.size_limit(), 11 * PAGE + 17);
    let full = Err(Error::OutOfMemory);
    let pages = |space: &Space<'_, _>| space.usage(&mut token()).mapped;

    assert_eq!(space.map(ms, Map::anonymous(3 * PAGE, RW)), full, "map");
    assert_eq!(space.map(ms, Map::anonymous(4 * PAGE, RW).shared().at(at + 7 * PAGE)), full);
    let over = Map::anonymous(3 * PAGE, RW).at(at + 7 * PAGE);
    assert_eq!(space.map(ms, over), Ok(at + 7 * PAGE), "a page is replaced");
    assert_eq!(pages(&space), 11);

    let whole = Remap { address: at, old_length: 10 * PAGE, ..Remap::default() };
    let longer = Remap { new_length: 11 * PAGE, may_move: true, ..whole };
    assert_eq!(space.remap(ms, longer), full, "growth");
    let first = Remap { old_length: PAGE, new_length: PAGE, may_move: true, ..whole };
    assert_eq!(space.remap(ms, Remap { keep_source: true, ..first }), full, "left behind");
    let last = Remap { keep_source: true, fixed: true, new_address: at + 9 * PAGE, ..first };
    assert_eq!(space.remap(ms, last), Ok(at + 9 * PAGE), "left behind, for a page that goes");
    let moved = Remap { fixed: true, new_address: 0x2000_0000, ..first };
    assert_eq!(space.remap(ms, moved), Ok(0x2000_0000), "a move maps nothing more");

    assert_eq!(space.brk(ms, 0x10_0001), 0x10_0000, "the heap");
    let below = top - 2 * PAGE;
    assert_eq!(space.fault(ms, below, Access::Write), Err(FaultError::NotMapped), "the stack");
    let child = space.fork(ms).unwrap();
    assert_eq!(child.map(ms, Map::anonymous(PAGE, RW)), full, "a child's");

    space.unmap(ms, 0x2000_0000, PAGE).unwrap();
    assert_eq!(space.fault(ms, below, Access::Write), Ok(()));
    assert_eq!(space.map(ms, Map::anonymous(PAGE, RW)), full);
    space.set_size_limit(u64::MAX);
    assert_eq!(space.brk(ms, 0x10_0001), 0x10_0001);
    vm.check(ms).unwrap();
}

#[test]
fn two_that_map_at_once_pass_the_limit_together() {
    let vm = Host::<Sv48>::new(4096, 2).manager();
    let space = Space::new(&vm, &mut token()).unwrap();
    space.set_size_limit(40 * PAGE);
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let space = &space;
            scope.spawn(move || {
                host::be_cpu(cpu);
                let one = Map::anonymous(PAGE, RW);
                while space.map(&mut token(), one) != Err(Error::OutOfMemory) {}
            });
        }
    });
    assert_eq!(space.usage(&mut token()).mapped, 40);
}

#[test]
fn what_is_locked_beyond_a_lowered_limit_can_neither_move_nor_shrink() {
    let vm = Host::<Sv48>::new(1024, 1).manager();
    let (ms, space) = (&mut token(), Space::new(&vm, &mut token()).unwrap());
    let at = space.map(ms, Map { locked: true, ..Map::anonymous(8 * PAGE, RW) }).unwrap();
    space.set_lock_limit(2 * PAGE);
    let to = 0x2000_0000;
    let moved = Remap {
        address: at,
        old_length: 8 * PAGE,
        new_length: 8 * PAGE,
        may_move: true,
        fixed: true,
        new_address: to,
        ..Remap::default()
    };
    assert_eq!(space.remap(ms, moved), Ok(to), "moved");
    let less = Remap { address: to, new_length: 4 * PAGE, new_address: at, ..moved };
    assert_eq!(space.remap(ms, less), Ok(at), "moved and made shorter");
    let kept = Remap { address: at, old_length: 4 * PAGE, ..less };
    let kept = Remap { keep_source: true, fixed: false, new_address: 0, ..kept };
    let away = space.remap(ms, kept).unwrap();
    assert_eq!(space.usage(ms).locked, 4, "locks move with what is moved");
    let more = Remap { address: away, new_length: 5 * PAGE, fixed: false, ..kept };
    let more = Remap { keep_source: false, ..more };
    assert_eq!(space.remap(ms, more), Err(Error::NotLocked), "growth asks for the limit");
    vm.check(ms).unwrap();
}
