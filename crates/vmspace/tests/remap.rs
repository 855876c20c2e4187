//! What mremap(2) would do wrong: each test names it.

#![cfg(not(loom))]

mod host;

use host::{Host, Sent};
use vmspace::format::{Rights, Sv48};
use vmspace::{Access, Error, FaultError, Map, MaySleep, Remap, Space, Vm};

const RW: Rights = Rights::READ.union(Rights::WRITE);
const PAGE: u64 = 4096;
/// What a leaf table spans.
const TABLE: u64 = 512 * PAGE;
const AT: u64 = 1 << 30;
const TO: u64 = 5 << 30;

type SpaceOf<'vm> = Space<'vm, Host<Sv48>>;

fn with_space(test: impl Fn(&Vm<Host<Sv48>>, &SpaceOf<'_>, &mut MaySleep)) {
    let vm = Host::<Sv48>::new(4096, 2).manager();
    // SAFETY: a test's own thread, which holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let space = Space::new(&vm, &mut ms).unwrap();
    test(&vm, &space, &mut ms);
    vm.check(&mut ms).unwrap();
}

fn to(address: u64, length: u64, new_address: u64) -> Remap {
    Remap {
        address,
        old_length: length,
        new_length: length,
        may_move: true,
        fixed: true,
        new_address,
        ..Remap::default()
    }
}

#[test]
fn an_aligned_move_of_2_mib_moves_512_entries_and_not_one() {
    with_space(|vm, space, ms| {
        let rights = Rights::READ;
        space.map(ms, Map::anonymous(3 * TABLE, RW).at(AT)).unwrap();
        space.map(ms, Map::anonymous(PAGE, RW).at(TO + 9 * TABLE)).unwrap();
        space.write(ms, TO + 9 * TABLE, b"its parent is there");
        for page in 0..3 * 512 {
            space.write(ms, AT + page * PAGE, &(page as u32).to_le_bytes());
        }
        space.protect(ms, AT, 3 * TABLE, rights).unwrap();
        let (frames, made) = (vm.free_frames(), vm.statistics().tables_made);
        space.enter(1);
        vm.platform().take_sent();
        assert_eq!(space.remap(ms, to(AT, 3 * TABLE, TO)), Ok(TO));
        let sent = Sent { cpus: vec![1], pages: None, tables: true };
        assert_eq!(vm.platform().take_sent(), [sent]);
        assert_eq!((vm.free_frames(), vm.statistics().tables_made), (frames, made));
        for page in 0..3 * 512 {
            let mut found = [0; 4];
            assert_eq!(space.read(ms, TO + page * PAGE, &mut found), 4);
            assert_eq!(u32::from_le_bytes(found), page as u32);
            assert!(space.translate(&vm.walk(ms), AT + page * PAGE).is_none());
        }
        assert_eq!(space.protect(ms, TO, 3 * TABLE, RW), Ok(()));
        assert_eq!(space.write(ms, TO + PAGE, b"writable again"), 14);
    });
}

/// Before the first byte of a page is written at its new place, its dirty bit tells of the old one.
#[test]
fn a_page_that_moves_forgets_that_it_was_written() {
    for by in [0, PAGE] {
        with_space(|vm, space, ms| {
            space.map(ms, Map::anonymous(TABLE, RW).at(AT)).unwrap();
            space.write(ms, AT, b"x");
            space.remap(ms, to(AT, TABLE, TO + by)).unwrap();
            let found = space.translate(&vm.walk(ms), TO + by).unwrap();
            assert!(found.dirty && found.accessed);
        });
    }
}

#[test]
fn a_mapping_that_grew_beyond_its_object_finds_the_objects_first_pages_again() {
    with_space(|_, space, ms| {
        let at = space.map(ms, Map::anonymous(64 * PAGE, RW).shared().at(AT)).unwrap();
        space.write(ms, at, b"first");
        let grown =
            Remap { address: at, old_length: 64 * PAGE, new_length: 65 * PAGE, ..Remap::default() };
        assert_eq!(space.remap(ms, grown), Ok(at));
        assert_eq!(space.fault(ms, at + 64 * PAGE, Access::Read), Err(FaultError::NoPage));
    });
}

#[test]
fn a_fork_of_a_moved_page_shares_it_with_nobody() {
    with_space(|_, space, ms| {
        space.map(ms, Map::anonymous(TABLE, RW).at(AT)).unwrap();
        space.write(ms, AT, b"before");
        let child = space.fork(ms).unwrap();
        space.remap(ms, to(AT, TABLE, TO)).unwrap();
        child.remap(ms, to(AT, PAGE, TO + PAGE)).unwrap();
        space.write(ms, TO, b"parent");
        let mut found = [0; 6];
        child.read(ms, TO + PAGE, &mut found);
        assert_eq!(&found, b"before");
        child.exit(ms);
    });
}

/// Where there is no room for a copy, what is to be moved stays.
#[test]
fn moving_something_over_itself_loses_it() {
    with_space(|_, space, ms| {
        space.map(ms, Map::anonymous(4 * PAGE, RW).at(AT)).unwrap();
        space.write(ms, AT, b"here");
        for by in [0, PAGE, 3 * PAGE] {
            assert_eq!(space.remap(ms, to(AT, 4 * PAGE, AT + by)), Err(Error::Invalid));
        }
        assert_eq!(space.remap(ms, to(AT, 2 * PAGE, AT + 2 * PAGE)), Ok(AT + 2 * PAGE));
        let mut found = [0; 4];
        space.read(ms, AT + 2 * PAGE, &mut found);
        assert_eq!(&found, b"here");
    });
}
