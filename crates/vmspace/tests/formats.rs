//! Each format bit for bit against its manual, and its round trip for every combination.
//!
//! The words on the right-hand sides are put together by hand from the manuals' figures; where a
//! line has more than one bit, the comment names them.
#![cfg(not(loom))]

use vmspace::addr::Frame;
use vmspace::cell::{Cell, SplitCell};
use vmspace::format::{
    Aarch64Granule4K, Aarch64Granule16K, Aarch64Granule64K, Entry, Format, Geometry, I386, I386Pae,
    I386PaeSplit, Leaf, NAMES, Rights, Soft, Sv32, Sv39, Sv39x4, Sv48, Sv57, X86_64, X86_64La57,
    describe,
};
use vmspace::sync::{AtomicU32, AtomicU64, Ordering};

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

/// What hardware can be told of some rights. No rights but USER are none.
type Told = fn(Rights) -> Rights;

fn implied(rights: Rights, when: Rights, implied: Rights) -> Rights {
    rights | if rights.intersects(when) { implied } else { NONE }
}

fn access(rights: Rights, told: Rights) -> Rights {
    if rights.intersects(READ | WRITE | EXECUTE) { told } else { NONE }
}

/// Storing brings loading.
fn riscv(rights: Rights) -> Rights {
    access(rights, implied(rights, WRITE, READ))
}

/// Loading cannot be denied.
fn x86(rights: Rights) -> Rights {
    access(rights, rights | READ)
}

/// Nor can fetching.
fn i386(rights: Rights) -> Rights {
    access(rights, rights | READ | EXECUTE)
}

/// Storing brings loading, and in the kernel so does fetching.
fn aarch64(rights: Rights) -> Rights {
    let when = if rights.contains(USER) { WRITE } else { WRITE | EXECUTE };
    access(rights, implied(rights, when, READ))
}

fn leaf_levels<F: Format>() -> impl Iterator<Item = usize> {
    (0..F::LEVELS).filter(|level| F::LEAF_LEVELS >> level & 1 == 1)
}

fn all_leaves_survive<F: Format>(frame_bits: u32, told: Told) {
    for level in leaf_levels::<F>() {
        for given in leaves::<F>(level, frame_bits) {
            let want = Leaf { rights: told(given.rights), ..given };
            let word = F::leaf(level, given);
            assert_eq!(F::Cell::new(word).load(Ordering::Relaxed), word, "wider than its cell");
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

fn every_soft<F: Format>() -> impl Iterator<Item = Soft> {
    let (slots, devices) = (F::SWAP.slots(), F::SWAP.devices());
    let slots = (0..slots.ilog2()).map(|bit| 1 << bit).chain([0, slots - 1]);
    let swap =
        slots.flat_map(move |slot| (0..devices).map(move |device| Soft::Swap { device, slot }));
    swap.chain([Soft::InTransit])
}

fn absent_and_table_words_leave_hardware_alone<F: Format>(frame_bits: u32) {
    for level in 0..F::LEVELS {
        for soft in every_soft::<F>() {
            let word = F::soft(soft);
            assert_eq!(F::Cell::new(word).load(Ordering::Relaxed), word, "wider than its cell");
            assert_ne!(word as u32, 0, "a split cell would hold nothing");
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
    assert_eq!(F::soft(excess), F::soft(F::SWAP.last()));
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

fn loses_nothing<F: Format>(frame_bits: u32, told: Told) {
    all_leaves_survive::<F>(frame_bits, told);
    all_accesses_are_recorded::<F>(frame_bits);
    absent_and_table_words_leave_hardware_alone::<F>(frame_bits);
    excess_payload_reaches_no_other_bit::<F>();
}

#[test]
fn riscv_loses_nothing() {
    loses_nothing::<Sv32>(22, riscv);
    loses_nothing::<Sv39>(44, riscv);
    loses_nothing::<Sv48>(44, riscv);
    loses_nothing::<Sv57>(44, riscv);
    loses_nothing::<Sv39x4>(44, riscv);
}

#[test]
fn x86_loses_nothing() {
    loses_nothing::<I386>(20, i386);
    loses_nothing::<I386Pae>(40, x86);
    loses_nothing::<I386PaeSplit>(40, x86);
    loses_nothing::<X86_64>(40, x86);
    loses_nothing::<X86_64La57>(40, x86);
}

#[test]
fn aarch64_loses_nothing() {
    loses_nothing::<Aarch64Granule4K>(36, aarch64);
    loses_nothing::<Aarch64Granule16K>(34, aarch64);
    loses_nothing::<Aarch64Granule64K>(32, aarch64);
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
fn sv32_words_are_those_of_the_privileged_manual() {
    // "Sv32", figure of the page-table entry: V 0, R 1, W 2, X 3, U 4, G 5, A 6, D 7, RSW 9:8,
    // PPN[0] 19:10, PPN[1] 31:20; physical addresses of 34 bits.
    let word = |level, frame, rights, a, d| Sv32::leaf(level, leaf(frame, rights, a, d));
    assert_eq!(word(0, 0, READ | WRITE | USER, true, true), 0x0d7); // V R W U A D
    assert_eq!(word(0, 0x8_0000, READ, false, false), 0x2000_0003); // 0x8000_0000 >> 12 << 10
    assert_eq!(word(0, (1 << 22) - 1, READ, false, false), 0xffff_fc03);
    assert_eq!(word(1, 0x12_3400, READ | EXECUTE, true, false), 0x48d0_004b); // A X R V: 4 MiB
    assert_eq!(Sv32::table(1, Frame(0x12_3456)), 0x48d1_5801);
    // Step 5 of the translation process: PPN[0] of a superpage is not zero.
    for bit in 10..20 {
        assert_eq!(Sv32::decode(1, 0x003 | 1 << bit), Entry::Empty);
    }
    assert!(matches!(Sv32::decode(1, 0x003 | 1 << 20), Entry::Leaf(_)));
}

#[test]
fn sv39_and_sv57_have_the_entries_of_sv48() {
    // "Sv57": a leaf at each of five levels, of 4 KiB, 2 MiB, 1 GiB, 512 GiB and 256 TiB.
    let top = Sv57::leaf(4, leaf(1 << 36, READ | EXECUTE | USER, true, false));
    assert_eq!(top, 0x0000_4000_0000_005b); // PPN[4] 53:46; A U X R V
    assert_eq!(Sv57::decode(4, top | 1 << 45), Entry::Empty);
    assert_eq!(Sv39::leaf(2, leaf(1 << 18, READ, false, false)), 0x1000_0003); // PPN[2] 53:28
    assert_eq!(Sv39::decode(2, 0x1000_0003 | 1 << 27), Entry::Empty);
    // "Two-Stage Address Translation": Sv39x4 has a root of 16 KiB, indexed by bits 40:30.
    assert_eq!(Sv39x4::leaf(2, leaf(1 << 18, READ, false, false)), 0x1000_0003);
    assert_eq!((Sv39x4::index(2, (1 << 29) - 1), Sv39x4::entries(2)), (2047, 2048));
    assert_eq!(Sv39x4::table_order(2), 2);
    for frame in [0, 0x8_0000, (1 << 44) - 1] {
        assert_eq!(Sv39::table(1, Frame(frame)), Sv48::table(1, Frame(frame)));
        assert_eq!(Sv57::table(4, Frame(frame)), Sv48::table(1, Frame(frame)));
    }
}

#[test]
fn i386_words_are_those_of_the_sdm() {
    // SDM 3A table 5-6 (a 4-KByte page in 32-bit paging): P 0, R/W 1, U/S 2, A 5, D 6, G 8,
    // address 31:12. There is no XD.
    let word = |level, frame, rights, a, d| I386::leaf(level, leaf(frame, rights, a, d));
    assert_eq!(word(0, 0, READ, false, false), 0x01); // P
    assert_eq!(word(0, 0, READ | WRITE | USER, true, true), 0x67); // D A U W P
    assert_eq!(word(0, 0x1_2345, READ | USER, true, false), 0x1234_5025); // A U P
    assert_eq!(word(0, (1 << 20) - 1, READ, false, false), 0xffff_f001);
    // Table 5-4 (a 4-MByte page): PS 7, address 31:22; 21:13 have no address without PSE-36.
    assert_eq!(word(1, 0x1_2400, READ | WRITE | USER, true, true), 0x1240_00e7); // PS D A U W P
    for bit in 13..22 {
        assert_eq!(I386::decode(1, 0x81 | 1 << bit), Entry::Empty);
    }
    let Entry::Leaf(large) = I386::decode(1, 0x1081) else { panic!() }; // bit 12 is PAT
    assert_eq!(large.frame, Frame(0));
    // Table 5-5 (a page table).
    assert_eq!(I386::table(1, Frame(0x1_2345)), 0x1234_5007); // U W P
    assert_eq!(I386::touched(1, 0x1234_5007, true), 0x1234_5027); // A, but no D
}

#[test]
fn pae_words_are_those_of_the_sdm() {
    // SDM 3A table 5-11 (a 4-KByte page in PAE paging): as in 4-level paging, but 62:52 reserved.
    fn check<F: Format>() {
        let word = |level, frame, rights, a, d| F::leaf(level, leaf(frame, rights, a, d));
        let rw = READ | WRITE | USER;
        assert_eq!(word(0, 0x12345, rw, true, true), 0x8000_0000_1234_5067); // XD D A U W P
        assert_eq!(word(0, (1 << 40) - 1, READ | EXECUTE, false, false), 0x000f_ffff_ffff_f001);
        // Table 5-9 (a 2-MByte page): PS 7, address 51:21.
        assert_eq!(word(1, 0x1_2345_0200, rw | EXECUTE, true, true), 0x0000_1234_5020_00e7);
        for bit in 13..21 {
            assert_eq!(F::decode(1, 0x81 | 1 << bit), Entry::Empty);
        }
        // Dirty and denied writing: a bit that is ignored (11:9), not a reserved one.
        assert_eq!(word(0, 1, READ | EXECUTE | USER, true, true), 0x1225); // 9, A U P
        for bit in 52..63 {
            assert_eq!(F::decode(0, 0x1001 | 1 << bit), Entry::Empty);
            assert_eq!(F::decode(1, 0x1001 | 1 << bit), Entry::Empty);
        }
        // Table 5-8 (a page-directory-pointer-table entry): P 0, PWT 3, PCD 4, address; 2:1, 8:5
        // and 63:52 are reserved, so hardware sets no A.
        assert_eq!(F::table(2, Frame(0x1_2345_6789)), 0x0000_1234_5678_9001);
        assert_eq!(F::touched(2, 0x1001, true), 0x1001);
        for bit in [1, 2, 5, 6, 7, 8].into_iter().chain(52..64) {
            assert_eq!(F::decode(2, 0x1001 | 1 << bit), Entry::Empty, "bit {bit}");
        }
        // Table 5-10 (a page table).
        assert_eq!(F::table(1, Frame(0x1_2345_6789)), 0x0000_1234_5678_9007);
    }
    check::<I386Pae>();
    check::<I386PaeSplit>();
}

#[test]
fn la57_has_the_entries_of_four_levels() {
    // SDM 3A table 5-14 (PML5E): as a PML4E; bit 7 reserved.
    assert_eq!(X86_64La57::table(4, Frame(0x12345)), 0x1234_5007);
    assert_eq!(X86_64La57::decode(4, 0x81), Entry::Empty);
    assert_eq!(X86_64La57::decode(3, 0x81), Entry::Empty);
    for given in leaves::<X86_64>(2, 40) {
        assert_eq!(X86_64La57::leaf(2, given), X86_64::leaf(2, given));
    }
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
    assert_eq!(shared >> 9 & 1, 1); // ignored by hardware: table 5-20, bits 10:9
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
fn aarch64_granules_differ_in_frames_alone() {
    // D8.3.1: OA 47:12, 47:14 and 47:16 of a page; blocks 47:30 and 47:21 (4KB granule, levels 1
    // and 2), 47:25 (16KB, level 2).
    let rx = READ | EXECUTE | USER;
    let low = 1 << 53 | 0xfc3; // PXN; nG AF SH AP=11, page
    let block = 1 << 53 | 0xfc1;
    assert_eq!(Aarch64Granule4K::leaf(0, leaf(0x1_2345, rx, true, false)), low | 0x1234_5000);
    assert_eq!(Aarch64Granule4K::leaf(1, leaf(0x200, rx, true, false)), block | 0x20_0000);
    assert_eq!(Aarch64Granule4K::leaf(2, leaf(0x4_0000, rx, true, false)), block | 0x4000_0000);
    assert_eq!(Aarch64Granule4K::table(3, Frame(0x1_2345)), 0x1234_5003);
    assert_eq!(Aarch64Granule16K::leaf(0, leaf(0x1_2345, rx, true, false)), low | 0x48d1_4000);
    assert_eq!(Aarch64Granule16K::leaf(1, leaf(0x800, rx, true, false)), block | 0x200_0000);
    assert_eq!(Aarch64Granule16K::table(3, Frame(0x1_2345)), 0x48d1_4003);
    // No block where only 52-bit addresses have one.
    assert_eq!(Aarch64Granule4K::decode(3, 0xfc1), Entry::Empty);
    assert_eq!(Aarch64Granule16K::decode(2, 0xfc1), Entry::Empty);
    assert_eq!(Aarch64Granule16K::decode(3, 0xfc1), Entry::Empty);
    assert_eq!(Aarch64Granule4K::decode(0, 0xfc1), Entry::Empty);
}

#[test]
fn geometry_covers_the_address_space() {
    fn covers<F: Format>(address_bits: u32, user_bytes: u64) {
        let bits: u32 = F::INDEX_BITS.iter().sum::<u32>() + F::PAGE_SHIFT;
        assert_eq!(bits, address_bits, "{}", F::NAME);
        assert_eq!(F::USER_PAGES * F::PAGE_SIZE, user_bytes, "{}", F::NAME);
        assert_eq!(F::KERNEL_SLOTS.end, F::entries(F::ROOT_LEVEL));
        for level in 0..F::LEVELS {
            let table = (F::entries(level) * F::Cell::BYTES) as u64;
            assert!(table == F::PAGE_SIZE || level == F::ROOT_LEVEL, "{}: level {level}", F::NAME);
            let taken = F::PAGE_SIZE << F::table_order(level);
            assert_eq!(taken, table.max(F::PAGE_SIZE), "{}: level {level}", F::NAME);
        }
    }
    let gib = 1 << 30;
    covers::<Sv32>(32, 3 * gib);
    covers::<Sv39>(39, 1 << 38);
    covers::<Sv48>(48, 1 << 47);
    covers::<Sv57>(57, 1 << 56);
    covers::<Sv39x4>(41, 1 << 41);
    covers::<I386>(32, 3 * gib);
    covers::<I386Pae>(32, 3 * gib);
    covers::<I386PaeSplit>(32, 3 * gib);
    covers::<X86_64>(48, 1 << 47);
    covers::<X86_64La57>(57, 1 << 56);
    covers::<Aarch64Granule4K>(48, 1 << 48);
    covers::<Aarch64Granule16K>(48, 1 << 48);
    covers::<Aarch64Granule64K>(48, 1 << 48);
}

#[test]
fn cells_are_as_wide_as_entries() {
    assert_eq!((AtomicU32::BYTES, AtomicU64::BYTES, SplitCell::BYTES), (4, 8, 8));
    assert_eq!(size_of::<[SplitCell; 4]>(), 32, "PAE's root");
    assert_eq!(I386Pae::entries(I386Pae::ROOT_LEVEL), 4);
}

#[test]
fn descriptions_say_what_the_constants_say() {
    assert_eq!(
        NAMES,
        [
            "sv32",
            "sv39",
            "sv48",
            "sv57",
            "sv39x4",
            "i386",
            "i386-pae",
            "i386-pae-split",
            "x86-64",
            "x86-64-la57",
            "aarch64-4k",
            "aarch64-16k",
            "aarch64-64k"
        ]
    );
    let (kib, mib, gib) = (1 << 10, 1 << 20, 1 << 30);
    assert!(describe::<Sv32>().leaf_sizes().eq([4 * kib, 4 * mib]));
    assert!(describe::<Sv48>().leaf_sizes().eq([4 * kib, 2 * mib, gib, 512 * gib]));
    assert!(describe::<I386>().leaf_sizes().eq([4 * kib, 4 * mib]));
    assert!(describe::<I386Pae>().leaf_sizes().eq([4 * kib, 2 * mib]));
    assert!(describe::<X86_64>().leaf_sizes().eq([4 * kib, 2 * mib, gib]));
    assert!(describe::<X86_64La57>().leaf_sizes().eq([4 * kib, 2 * mib, gib]));
    assert!(describe::<Aarch64Granule4K>().leaf_sizes().eq([4 * kib, 2 * mib, gib]));
    assert!(describe::<Aarch64Granule16K>().leaf_sizes().eq([16 * kib, 32 * mib]));
    let arm = describe::<Aarch64Granule64K>();
    assert!(arm.leaf_sizes().eq([64 * kib, 512 * mib]));
    assert_eq!((arm.page_size, arm.levels), (64 * kib, &[13, 13, 6][..]));
    assert_eq!(arm.user_bytes, 1 << 48);
    assert!(arm.break_before_make && arm.kernel_slots == 0);
}
