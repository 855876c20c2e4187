//! Corner cases that a comparison with another machine does not reach: faults, wild jumps, code
//! that changes, exits.

use super::*;

const CODE: u64 = 0x10000;
const PAGES: usize = 4;
const NOP: u32 = 0x13;
const EBREAK: u32 = 0x0010_0073;

/// A few pages from [`CODE`] on, each with its rights.
struct Flat {
    words: Vec<u64>,
    readable: [bool; PAGES],
    writable: [bool; PAGES],
    executable: [bool; PAGES],
    epoch: u64,
    /// Polls until the run must end.
    polls: Option<u32>,
    /// The lowest and the highest place on the stack that a translation was asked from.
    stack: Option<(usize, usize)>,
}

impl Flat {
    fn new(code: &[u32]) -> Flat {
        let mut flat = Flat {
            words: vec![0; PAGES * 512],
            readable: [true; PAGES],
            writable: [true; PAGES],
            executable: [true; PAGES],
            epoch: 0,
            polls: None,
            stack: None,
        };
        flat.put(CODE, code);
        flat
    }

    fn put(&mut self, at: u64, code: &[u32]) {
        for (position, word) in code.iter().enumerate() {
            self.put_half(at + position as u64 * 4, *word as u16);
            self.put_half(at + position as u64 * 4 + 2, (*word >> 16) as u16);
        }
    }

    fn put_half(&mut self, at: u64, half: u16) {
        let offset = (at - CODE) as usize;
        let shift = offset % 8 * 8;
        let word = &mut self.words[offset / 8];
        *word = *word & !(0xffff << shift) | u64::from(half) << shift;
    }
}

impl Bus for Flat {
    fn translate(&mut self, va: u64, access: Access) -> Result<*mut u8, Trap> {
        let here = (&raw const va).addr();
        let (lowest, highest) = self.stack.unwrap_or((here, here));
        self.stack = Some((lowest.min(here), highest.max(here)));
        let page = (va.wrapping_sub(CODE) / 4096) as usize;
        let rights = match access {
            Access::Read => self.readable,
            Access::Write => self.writable,
            Access::Execute => self.executable,
        };
        match rights.get(page) {
            Some(true) => {
                let start = self.words.as_mut_ptr().cast::<u8>();
                Ok(start.wrapping_add((va - CODE) as usize))
            }
            _ => Err(Trap { va, access }),
        }
    }

    fn hit(&mut self, va: u64, access: Access, size: u64) -> Option<*mut u8> {
        self.translate(va, access).ok().filter(|_| va.is_multiple_of(size))
    }

    fn pending(&self) -> bool {
        self.polls.is_some()
    }

    fn poll(&mut self) -> bool {
        self.polls = self.polls.and_then(|left| left.checked_sub(1));
        self.polls.is_none()
    }

    fn code_epoch(&self) -> u64 {
        self.epoch
    }

    fn time(&mut self) -> u64 {
        77
    }
}

fn hart_at(pc: u64) -> Hart<Flat> {
    let mut hart = Hart::new();
    hart.regs.pc = pc;
    hart
}

/// Run `code` from its start with `x` in x10 and x11.
fn run(code: &[u32], x: [u64; 2]) -> (Exit, Hart<Flat>) {
    let mut hart = hart_at(CODE);
    hart.regs.x[10..12].copy_from_slice(&x);
    let exit = hart.run(&mut Flat::new(code), u64::MAX);
    (exit, hart)
}

#[test]
fn x0_stays_zero() {
    // addi x0, x0, 1; ld x0, 0(x10); jal x0, 4; add x11, x0, x0
    let (exit, hart) =
        run(&[0x0010_0013, 0x0005_3003, 0x0040_006f, 0x0000_05b3, EBREAK], [CODE, 9]);
    assert_eq!(exit, Exit::Breakpoint);
    assert_eq!((hart.regs.x[0], hart.regs.x[11], hart.retired()), (0, 0, 4));
}

#[test]
fn division_does_not_trap() {
    // div x12, x10, x11; rem x13, x10, x11; divw x14, x10, x11; remuw x15, x10, x11
    let code = [0x02b5_4633, 0x02b5_66b3, 0x02b5_473b, 0x02b5_77bb, EBREAK];
    let (_, hart) = run(&code, [i64::MIN as u64, u64::MAX]);
    assert_eq!(hart.regs.x[12..16], [i64::MIN as u64, 0, 0, 0]);
    let (_, hart) = run(&code, [7, 0]);
    assert_eq!(hart.regs.x[12..16], [u64::MAX, 7, u64::MAX, 7]);
}

#[test]
fn all_zero_is_illegal() {
    let (exit, hart) = run(&[0], [0; 2]);
    assert_eq!(exit, Exit::Illegal { pc: CODE, bits: 0 });
    assert_eq!((hart.regs.pc, hart.retired()), (CODE, 0));
}

#[test]
fn reserved_rounding_modes_are_illegal() {
    // fadd.d with mode 5; then csrwi frm, 6 and a dynamic fadd.d.
    assert!(matches!(run(&[0x0220_d053], [0; 2]).0, Exit::Illegal { bits: 0x0220_d053, .. }));
    let (exit, hart) = run(&[0x0023_5073, 0x0220_f053], [0; 2]);
    assert_eq!(exit, Exit::Illegal { pc: CODE + 4, bits: 0x0220_f053 });
    assert_eq!(hart.regs.fcsr, 6 << 5);
}

#[test]
fn counters_are_read_only() {
    // rdtime x10; rdinstret x11; csrw time, x10
    let (exit, hart) = run(&[0xc010_2573, 0xc020_25f3, 0xc015_1073], [0; 2]);
    assert_eq!(hart.regs.x[10..12], [77, 1]);
    assert_eq!(exit, Exit::Illegal { pc: CODE + 8, bits: 0xc015_1073 });
}

#[test]
fn a_jump_drops_the_lowest_bit_and_faults_at_its_target() {
    // jalr x1, 1(x10)
    let (exit, hart) = run(&[0x0015_00e7], [0xdead_0000, 0]);
    assert_eq!(exit, Exit::Fault { va: 0xdead_0000, access: Access::Execute });
    assert_eq!((hart.regs.pc, hart.regs.x[1], hart.retired()), (0xdead_0000, CODE + 4, 1));
}

#[test]
fn a_crossing_store_that_faults_writes_nothing_and_resumes() {
    let mut flat = Flat::new(&[0x00b5_3023, EBREAK]); // sd x11, 0(x10)
    flat.writable[2] = false;
    let mut hart = hart_at(CODE);
    hart.regs.x[10] = CODE + 0x1ffd;
    hart.regs.x[11] = u64::MAX;
    let fault = Exit::Fault { va: CODE + 0x2000, access: Access::Write };
    assert_eq!(hart.run(&mut flat, 1), fault);
    assert_eq!((flat.words[1023], hart.regs.pc), (0, CODE));
    flat.writable[2] = true;
    assert_eq!(hart.run(&mut flat, 10), Exit::Breakpoint);
    assert_eq!(flat.words[1023..1025], [0xffff_ff00_0000_0000, 0xff_ffff_ffff]);
}

#[test]
fn an_instruction_crosses_into_a_page_that_comes_and_changes() {
    let at = CODE + 0xffe;
    let mut flat = Flat::new(&[]);
    flat.put(at, &[0x0015_0513, EBREAK]); // addi x10, x10, 1
    flat.executable[1] = false;
    let mut hart = hart_at(at);
    let fault = Exit::Fault { va: CODE + 0x1000, access: Access::Execute };
    assert_eq!(hart.run(&mut flat, 10), fault);
    assert_eq!(hart.regs.pc, at);
    flat.executable[1] = true;
    assert_eq!(hart.run(&mut flat, 10), Exit::Breakpoint);
    assert_eq!((hart.regs.x[10], hart.regs.pc), (1, at + 4));
    // Branches over the border, both ways: beq x0, x0, -8 and +8.
    for (word, target) in [(0xfe00_0ce3, at - 8), (0x0000_0463, at + 8)] {
        flat.put(at, &[word]);
        flat.put(target, &[EBREAK]);
        hart.forget_code();
        hart.regs.pc = at;
        assert_eq!(hart.run(&mut flat, 10), Exit::Breakpoint);
        assert_eq!(hart.regs.pc, target);
    }
}

#[test]
fn a_run_that_ends_at_a_branch_out_of_the_page_forgets_where_it_led() {
    let mut flat = Flat::new(&[]);
    flat.put(CODE + 0xffc, &[0x0000_0463]); // beq x0, x0, 8
    flat.put(CODE + 0x1004, &[EBREAK]);
    let mut hart = hart_at(CODE + 0xffc);
    assert_eq!(hart.run(&mut flat, 1), Exit::Quota);
    assert_eq!(hart.regs.pc, CODE + 0x1004);
    assert_eq!(hart.run(&mut flat, 1), Exit::Breakpoint);
}

#[test]
fn control_runs_off_the_end_of_a_page() {
    let mut flat = Flat::new(&[]);
    flat.put(CODE + 0xffc, &[NOP]);
    flat.executable[1] = false;
    let mut hart = hart_at(CODE + 0xffc);
    let fault = Exit::Fault { va: CODE + 0x1000, access: Access::Execute };
    assert_eq!(hart.run(&mut flat, 10), fault);
    assert_eq!((hart.regs.pc, hart.retired()), (CODE + 0x1000, 1));
}

#[test]
fn instructions_overlap() {
    // A lui whose upper half is c.addi x10, 1, entered at its start and in its middle.
    let mut flat = Flat::new(&[0x0505_05b7, EBREAK]);
    let mut hart = hart_at(CODE);
    assert_eq!(hart.run(&mut flat, 10), Exit::Breakpoint);
    hart.regs.pc = CODE + 2;
    assert_eq!(hart.run(&mut flat, 10), Exit::Breakpoint);
    assert_eq!((hart.regs.x[10], hart.regs.x[11], hart.retired()), (1, 0x0505_0000, 2));
}

#[test]
fn changed_code_is_seen_after_fence_i_or_a_new_epoch_only() {
    let mut flat = Flat::new(&[0x0015_0513, 0xffdf_f06f]); // addi x10, x10, 1; jal x0, -4
    let mut hart = hart_at(CODE);
    assert_eq!(hart.run(&mut flat, 1), Exit::Quota);
    flat.put(CODE, &[EBREAK]);
    assert_eq!(hart.run(&mut flat, 100), Exit::Quota);
    flat.epoch += 1;
    assert_eq!(hart.run(&mut flat, 100), Exit::Breakpoint);
    flat.put(CODE, &[NOP]);
    hart.forget_code();
    assert_eq!(hart.run(&mut flat, 100), Exit::Quota);
}

#[test]
fn runs_end_when_asked_and_count_what_they_did() {
    let mut flat = Flat::new(&[NOP, NOP, 0xff9f_f06f]); // jal x0, -8
    let mut hart = hart_at(CODE);
    assert_eq!(hart.run(&mut flat, 30), Exit::Quota);
    assert_eq!(hart.retired(), 30);
    flat.polls = Some(2);
    assert_eq!(hart.run(&mut flat, u64::MAX), Exit::Pending);
    // The first poll is at the start, and served; two rounds later it asks for the end.
    assert_eq!((hart.retired(), hart.regs.pc), (36, CODE));
}

#[test]
fn a_reservation_is_lost_by_exits_and_by_order() {
    // lr.d x12, (x10); [ecall or nop]; sc.d x13, x11, (x10)
    for (middle, expected) in [(NOP, 0), (0x73, 1)] {
        let mut flat = Flat::new(&[0x1005_362f, middle, 0x18b5_36af, EBREAK]);
        let mut hart = hart_at(CODE);
        hart.regs.x[10] = CODE + 0x1000;
        if hart.run(&mut flat, 10) == Exit::Ecall {
            hart.regs.pc += 4;
            assert_eq!(hart.run(&mut flat, 10), Exit::Breakpoint);
        }
        assert_eq!(hart.regs.x[13], expected);
    }
}

#[test]
fn atomics_must_be_aligned() {
    // amoadd.w x12, x11, (x10)
    let (exit, hart) = run(&[0x00b5_262f], [CODE + 2, 1]);
    assert_eq!((exit, hart.regs.pc), (Exit::Misaligned { va: CODE + 2 }, CODE));
}

#[test]
fn any_bytes_execute_without_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..200 {
        let mut flat = Flat::new(&[]);
        for word in &mut flat.words {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            *word = state ^ state >> 29;
        }
        let mut hart = hart_at(CODE);
        for step in 0..200 {
            hart.regs.pc = match hart.run(&mut flat, 50) {
                Exit::Quota => hart.regs.pc,
                _ => CODE + (state.rotate_left(step) & 0x3fff),
            };
            hart.regs.x[8..24].fill(CODE + 0x2004);
            assert_eq!(hart.regs.x[0], 0);
        }
    }
}

/// A page of loads, each of which is slow and so asks from where it was called, over and over.
#[test]
fn a_long_run_does_not_pile_up_calls() {
    let mut flat = Flat::new(&[]);
    let last = CODE + 4096 - 4;
    (CODE..last).step_by(2).for_each(|at| flat.put_half(at, 0x6110)); // c.ld x12, 0(x10)
    flat.put(last, &[0x804f_f06f]); // jal x0, CODE - last
    let mut hart = hart_at(CODE);
    hart.regs.x[10] = CODE + 0x1001;
    assert_eq!(hart.run(&mut flat, 100_000), Exit::Quota);
    let (lowest, highest) = flat.stack.unwrap();
    assert!(highest - lowest < 64 << 10, "{} bytes of stack", highest - lowest);
}

/// Where a run stops says nothing of what was decoded before it.
#[test]
fn a_quota_ends_at_another_place_after_another_history() {
    // Four no-operations, and back by 16.
    let mut flat = Flat::new(&[NOP, NOP, NOP, NOP, 0xff1f_f06f]);
    let ends = [CODE, CODE + 8].map(|begins| {
        let mut hart = hart_at(begins);
        assert_eq!(hart.run(&mut flat, 1), Exit::Quota);
        let before = hart.retired();
        hart.regs.pc = CODE;
        assert_eq!(hart.run(&mut flat, 1), Exit::Quota);
        (hart.regs.pc, hart.retired() - before)
    });
    assert_eq!(ends, [(CODE, 5); 2]);
}
