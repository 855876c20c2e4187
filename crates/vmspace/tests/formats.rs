//! Each format bit for bit against its manual, and its round trip for every combination.
//!
//! The words on the right-hand sides are put together by hand from the manuals' figures; where a
//! line has more than one bit, the comment names them.
#![cfg(not(loom))]

use vmspace::addr::Frame;
use vmspace::format::{
    Aarch64Granule64K, Entry, Format, Geometry, Leaf, NAMES, Rights, Soft, Sv48, X86_64, describe,
};

const READ: Rights = Rights::READ;
const WRITE: Rights = Rights::WRITE;
const EXECUTE: Rights = Rights::EXECUTE;
const USER: Rights = Rights::USER;
const NONE: Rights = Rights::empty();

fn leaf(frame: u64, rights: Rights, accessed: bool, dirty: bool) -> Leaf {
    Leaf { frame: Frame(frame), rights, accessed, dirty }
}

/// Every set of rights, accessed and dirty, with the frames of extreme numbers at `level`.
fn leaves<F: Format>(level: usize, frame_bits: u32) -> impl Iterator<Item = Leaf> {
    let highest = ((1 << frame_bits) - 1) >> F::slot_shift(level) << F::slot_shift(level);
    [0, 1 << F::slot_shift(level), highest].into_iter().flat_map(|frame| {
        (0..64u8)
            .map(move |i| leaf(frame, Rights::from_bits_truncate(i & 15), i & 16 != 0, i & 32 != 0))
    })
}

/// What hardware can be told: no rights but USER are none; WRITE brings READ; so does EXECUTE
/// where reading cannot be denied.
fn told(rights: Rights, execute_reads: bool) -> Rights {
    let access = rights & (READ | WRITE | EXECUTE);
    if access.is_empty() {
        return NONE;
    }
    let reads = access.contains(WRITE) || execute_reads;
    rights | if reads { READ } else { NONE }
}

fn leaf_levels<F: Format>() -> impl Iterator<Item = usize> {
    (0..F::LEVELS).filter(|level| F::LEAF_LEVELS >> level & 1 == 1)
}

fn all_leaves_survive<F: Format>(frame_bits: u32, execute_reads: bool, kernel_execute_only: bool) {
    for level in leaf_levels::<F>() {
        for given in leaves::<F>(level, frame_bits) {
            let denies_loads = !given.rights.intersects(READ | WRITE);
            let kernel = !given.rights.contains(USER);
            let reads = execute_reads || (kernel && denies_loads && !kernel_execute_only);
            let want = Leaf { rights: told(given.rights, reads), ..given };
            let word = F::leaf(level, given);
            assert_eq!(F::decode(level, word), Entry::Leaf(want), "level {level}, {word:#x}");
            assert_eq!(F::leaf(level, want), word, "level {level}, not canonical");
            let old = Entry::Leaf(Leaf { accessed: false, ..want });
            assert_eq!(F::decode(level, word & !F::ACCESSED), old, "clearing accessed");
            for rights in (0..16).map(Rights::from_bits_truncate) {
                let fresh = F::leaf(level, Leaf { rights, ..given });
                assert_eq!(F::with_rights(level, word, rights), fresh, "rights changed");
            }
        }
    }
}

fn all_accesses_are_recorded<F: Format>(frame_bits: u32) {
    for level in leaf_levels::<F>() {
        for given in leaves::<F>(level, frame_bits) {
            let word = F::leaf(level, given);
            let Entry::Leaf(before) = F::decode(level, word) else { panic!() };
            for (right, write) in [(READ, false), (WRITE, true)] {
                if !before.rights.contains(right) {
                    continue;
                }
                let after = F::touched(level, word, write);
                let want = Leaf { accessed: true, dirty: before.dirty || write, ..before };
                assert_eq!(F::decode(level, after), Entry::Leaf(want));
                assert_eq!((after ^ word) & !F::HARDWARE_WRITES, 0, "a bit not announced");
            }
        }
    }
}

fn every_soft() -> impl Iterator<Item = Soft> {
    let slots = (0..40).map(|bit| 1 << bit).chain([0, (1 << 40) - 1]);
    let swap = slots.flat_map(|slot| (0..32).map(move |device| Soft::Swap { device, slot }));
    swap.chain([Soft::InTransit])
}

fn absent_and_table_words_leave_hardware_alone<F: Format>(frame_bits: u32) {
    for level in 0..F::LEVELS {
        for soft in every_soft() {
            let word = F::soft(soft);
            assert_eq!(F::decode(level, word), Entry::Soft(soft));
            assert_eq!(word & F::HARDWARE_WRITES, 0);
            assert_eq!(F::with_rights(level, word, READ), word);
        }
        assert_eq!(F::decode(level, 0), Entry::Empty);
    }
    for level in 1..F::LEVELS {
        for table in [Frame(0), Frame(1), Frame((1 << frame_bits) - 1)] {
            let word = F::table(level, table);
            assert_eq!(F::decode(level, word), Entry::Table(table));
            assert_eq!(word & F::HARDWARE_WRITES, 0);
            let walked = F::touched(level, word, true);
            assert_eq!(F::decode(level, walked), Entry::Table(table));
            assert_eq!(F::decode(level, walked & !F::ACCESSED), Entry::Table(table));
            assert_eq!(F::with_rights(level, word, NONE), word);
        }
    }
}

fn excess_payload_reaches_no_other_bit<F: Format>() {
    let excess = Soft::Swap { device: !0, slot: !0 };
    assert_eq!(F::soft(excess), F::soft(Soft::Swap { device: 31, slot: (1 << 40) - 1 }));
    let table = F::table(1, Frame(!0));
    assert!(matches!(F::decode(1, table), Entry::Table(_)));
    for level in leaf_levels::<F>() {
        let word = F::leaf(level, leaf(!0, READ, false, false));
        let Entry::Leaf(found) = F::decode(level, word) else { panic!() };
        assert_eq!(
            (found.rights.contains(READ), found.accessed, found.dirty),
            (true, false, false)
        );
    }
}

#[test]
fn sv48_loses_nothing() {
    all_leaves_survive::<Sv48>(44, false, true);
    all_accesses_are_recorded::<Sv48>(44);
    absent_and_table_words_leave_hardware_alone::<Sv48>(44);
    excess_payload_reaches_no_other_bit::<Sv48>();
}

#[test]
fn x86_64_loses_nothing() {
    all_leaves_survive::<X86_64>(40, true, false);
    all_accesses_are_recorded::<X86_64>(40);
    absent_and_table_words_leave_hardware_alone::<X86_64>(40);
    excess_payload_reaches_no_other_bit::<X86_64>();
}

#[test]
fn aarch64_loses_nothing() {
    all_leaves_survive::<Aarch64Granule64K>(32, false, false);
    all_accesses_are_recorded::<Aarch64Granule64K>(32);
    absent_and_table_words_leave_hardware_alone::<Aarch64Granule64K>(32);
    excess_payload_reaches_no_other_bit::<Aarch64Granule64K>();
}

#[test]
fn sv48_words_are_those_of_the_privileged_manual() {
    // "Sv39", figure of the page-table entry, which Sv48 shares: V 0, R 1, W 2, X 3, U 4, G 5,
    // A 6, D 7, RSW 9:8, PPN 53:10.
    let word = |frame, rights, a, d| Sv48::leaf(0, leaf(frame, rights, a, d));
    assert_eq!(word(0, READ, false, false), 0x003); // V R
    assert_eq!(word(0, READ | USER, true, false), 0x053); // V R U A
    assert_eq!(word(0, READ | WRITE | USER, true, true), 0x0d7); // V R W U A D
    assert_eq!(word(0, READ | EXECUTE | USER, true, false), 0x05b); // V R X U A
    assert_eq!(word(0, EXECUTE | USER, true, false), 0x059); // V X U A: execute-only
    assert_eq!(word(0, WRITE, false, false), 0x007); // V R W: W alone is reserved
    assert_eq!(word(0x8_0000, READ, false, false), 0x2000_0003); // 0x8000_0000 >> 12 << 10
    assert_eq!(word((1 << 44) - 1, READ, false, false), 0x003f_ffff_ffff_fc03);
    // Pointer to the next level: R = W = X = 0; D, A and U must be cleared.
    assert_eq!(Sv48::table(1, Frame(0x8_0000)), 0x2000_0001);
    // V = 0: "all other bits in the PTE are don't-cares and may be used freely by software".
    assert_eq!(word(0x8_0000, NONE, true, true) & 1, 0);
    assert_eq!(Sv48::touched(0, 0x007, true), 0x0c7);
}

#[test]
fn sv48_faults_where_the_algorithm_stops() {
    // "Virtual address translation process", step 3: R = 0 with W = 1, or reserved bits set.
    assert_eq!(Sv48::decode(0, 0x005), Entry::Empty);
    assert_eq!(Sv48::decode(0, 0x00d), Entry::Empty);
    for bit in 54..64 {
        assert_eq!(Sv48::decode(0, 0x003 | 1 << bit), Entry::Empty);
    }
    // U, A and D of a non-leaf entry are reserved; step 4: no leaf at level 0.
    for bit in [4, 6, 7] {
        assert_eq!(Sv48::decode(1, 0x001 | 1 << bit), Entry::Empty);
    }
    assert_eq!(Sv48::decode(0, 0x001), Entry::Empty);
    // Step 5: a misaligned superpage.
    for level in 1..4 {
        for bit in 10..10 + 9 * level {
            assert_eq!(Sv48::decode(level, 0x003 | 1 << bit), Entry::Empty);
        }
    }
    assert!(matches!(Sv48::decode(1, 0x003 | 1 << 19), Entry::Leaf(_)));
}

#[test]
fn x86_64_words_are_those_of_the_sdm() {
    // SDM 3A table 5-20 (a 4-KByte page): P 0, R/W 1, U/S 2, A 5, D 6, G 8, address 51:12, XD 63.
    let word = |level, frame, rights, a, d| X86_64::leaf(level, leaf(frame, rights, a, d));
    let execute = READ | EXECUTE;
    assert_eq!(word(0, 0, execute, false, false), 0x01); // P
    assert_eq!(word(0, 0, READ, false, false), 0x8000_0000_0000_0001); // XD P
    assert_eq!(word(0, 0, READ | WRITE | USER, true, true), 0x8000_0000_0000_0067); // D A U W P
    assert_eq!(word(0, 0, execute | USER, true, false), 0x25); // A U P
    assert_eq!(word(0, 0x12345, execute, false, false), 0x1234_5001);
    assert_eq!(word(0, (1 << 40) - 1, execute, false, false), 0x000f_ffff_ffff_f001);
    // Tables 5-18 and 5-16 (2-MByte and 1-GByte pages): PS 7.
    assert_eq!(word(1, 0x200, execute | WRITE, true, true), 0x0020_00e3); // PS D A W P
    assert_eq!(word(2, 0x4_0000, execute, false, false), 0x4000_0081); // PS P
    // Tables 5-15, 5-17, 5-19 (references to tables): R/W and U/S open, PS clear.
    assert_eq!(X86_64::table(3, Frame(0x12345)), 0x1234_5007);
    assert_eq!(X86_64::touched(3, 0x1234_5007, true), 0x1234_5027); // A, but no D
    assert_eq!(X86_64::touched(0, 0x03, true), 0x63); // D A
}

#[test]
fn x86_64_write_protection_makes_no_shadow_stack() {
    // SDM 3A 5.6.1: with CET, R/W = 0 and D = 1 in the last entry is a shadow-stack address.
    let word = X86_64::leaf(0, leaf(1, READ | WRITE | USER, true, true));
    let shared = X86_64::with_rights(0, word, READ | USER);
    assert_eq!(shared & 0b100_0010, 0);
    assert_eq!(shared >> 58 & 1, 1); // ignored by hardware: table 5-20, bits 58:52
    assert_eq!(X86_64::with_rights(0, shared, READ | WRITE | USER), word);
}

#[test]
fn x86_64_absent_words_point_at_no_memory() {
    // L1TF: the address bits (51:12) of a non-present entry must not name memory that exists.
    let top = |word: u64| word >> 46 & 0x3f;
    assert_eq!(top(X86_64::leaf(0, leaf(0x12345, NONE, true, true))), 0x3f);
    assert_eq!(top(X86_64::soft(Soft::Swap { device: 3, slot: 0x12345 })), 0x3f);
    assert_eq!(top(X86_64::soft(Soft::InTransit)), 0x3f);
}

#[test]
fn x86_64_faults_on_reserved_bits() {
    assert_eq!(X86_64::decode(3, 0x81), Entry::Empty); // table 5-15: bit 7 of a PML4E
    for (level, bits) in [(1, 13..21), (2, 13..30)] {
        for bit in bits {
            assert_eq!(X86_64::decode(level, 0x81 | 1 << bit), Entry::Empty);
        }
        // Bit 12 of a large leaf is PAT, not an address.
        let Entry::Leaf(leaf) = X86_64::decode(level, 0x1081) else { panic!() };
        assert_eq!(leaf.frame, Frame(0));
    }
}

#[test]
fn aarch64_words_are_those_of_the_arm() {
    // D8.3.1 (64KB granule, 48-bit OA): page 0b11 at level 3, block 0b01 at level 2, AF 10,
    // SH 9:8 = 0b11, nG 11, OA 47:16 and 47:29. D8.4.1: AP[1] 6, AP[2] 7, UXN 54, PXN 53.
    // D8.5.2: DBM 51. Bit 55 is for software.
    let word =
        |level, frame, rights, a, d| Aarch64Granule64K::leaf(level, leaf(frame, rights, a, d));
    let (rw, rx) = (READ | WRITE | USER, READ | EXECUTE | USER);
    let (pxn, xn, dbm, dirty) = (1 << 53, 0b11 << 53, 1 << 51, 1 << 55);
    assert_eq!(word(0, 0, READ | USER, false, false), xn | 0xbc3); // nG SH AP=11 11
    assert_eq!(word(0, 0, rw, true, false), xn | dbm | 0xfc3); // clean: AP[2] = 1
    assert_eq!(word(0, 0, rw, true, true), xn | dbm | 0xf43); // dirty: AP[2] = 0
    assert_eq!(word(0, 0, READ | USER, true, true), dirty | xn | 0xfc3);
    assert_eq!(word(0, 0, rx, true, false), pxn | 0xfc3);
    assert_eq!(word(0, 0, EXECUTE | USER, true, false), pxn | 0xf83); // AP[1] = 0, UXN = 0
    assert_eq!(word(0, 0, READ | EXECUTE, true, false), 1 << 54 | 0xf83); // UXN, not PXN
    assert_eq!(word(0, 0x1_2345, rx, true, false), pxn | 0x1_2345_0fc3);
    assert_eq!(word(1, 0x2000, rx, true, false), pxn | 0x2000_0fc1); // block: 512 MiB
    assert_eq!(word(0, (1 << 32) - 1, rx, true, false), pxn | 0xffff_ffff_0fc3);
    assert_eq!(Aarch64Granule64K::table(1, Frame(0x1_2345)), 0x1_2345_0003);
    assert_eq!(word(0, 0, NONE, true, true) & 1, 0);
}

#[test]
fn aarch64_hardware_dirties_by_clearing() {
    // D8.5.2: a store through DBM = 1, AP[2] = 1 clears AP[2]; without DBM it faults.
    let clean = 0x0008_0000_0000_0bc3;
    assert_eq!(Aarch64Granule64K::touched(0, clean, true), 0x0008_0000_0000_0f43);
    assert_eq!(Aarch64Granule64K::touched(0, clean, false), 0x0008_0000_0000_0fc3);
    assert_eq!(Aarch64Granule64K::touched(0, 0xbc3, true), 0xfc3);
    // Written by others: writable without DBM has no clean state.
    let Entry::Leaf(open) = Aarch64Granule64K::decode(0, 0xf43) else { panic!() };
    assert!(open.rights.contains(WRITE) && open.dirty);
}

#[test]
fn aarch64_faults_on_reserved_descriptors() {
    // D8.3: level 3 with bit 1 clear is reserved; a level 1 block needs 52-bit addresses.
    assert_eq!(Aarch64Granule64K::decode(0, 0xfc1), Entry::Empty);
    assert_eq!(Aarch64Granule64K::decode(2, 0xfc1), Entry::Empty);
}

#[test]
fn geometry_covers_the_address_space() {
    fn covers<F: Format>() {
        let bits: u32 = F::INDEX_BITS.iter().sum::<u32>() + F::PAGE_SHIFT;
        assert_eq!(bits, 48);
        assert!(F::INDEX_BITS.iter().all(|bits| 8u64 << bits <= F::PAGE_SIZE), "a table is a page");
        let user_slots = F::USER_PAGES / F::slot_pages(F::ROOT_LEVEL);
        let kernel = F::KERNEL_SLOTS.len() as u64;
        assert_eq!(user_slots + kernel, F::entries(F::ROOT_LEVEL) as u64);
    }
    covers::<Sv48>();
    covers::<X86_64>();
    covers::<Aarch64Granule64K>();
}

#[test]
fn descriptions_say_what_the_constants_say() {
    assert_eq!(NAMES, ["sv48", "x86-64", "aarch64-64k"]);
    let (kib, mib, gib) = (1 << 10, 1 << 20, 1 << 30);
    assert!(describe::<Sv48>().leaf_sizes().eq([4 * kib, 2 * mib, gib, 512 * gib]));
    assert!(describe::<X86_64>().leaf_sizes().eq([4 * kib, 2 * mib, gib]));
    let arm = describe::<Aarch64Granule64K>();
    assert!(arm.leaf_sizes().eq([64 * kib, 512 * mib]));
    assert_eq!((arm.page_size, arm.levels, arm.user_bits), (64 * kib, &[13, 13, 6][..], 48));
    assert!(arm.break_before_make && arm.kernel_slots == 0);
}
