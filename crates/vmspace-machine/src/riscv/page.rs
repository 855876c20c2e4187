//! Decoded pages of code.
//!
//! Guarantee: control that is inside [`Page::ops`] stays inside until it executes an operation that
//! leaves the page (a far jump, `Jalr`, `Leave`) or ends the run. Execution walks `ops`
//! with a bare pointer and relies on it.
//!
//! Mechanism: `ops` is a row of *streams*. A stream holds consecutive instructions in program
//! order, and its last operation never falls through: an unconditional jump, an illegal
//! instruction, `Leave` at the end of the page, or `Goto` where an older stream already holds what
//! follows. `index` finds the operation of an instruction that starts at a given offset; `offsets`
//! is its inverse. Streams are decoded when control first reaches them, together with all that
//! their branches reach inside the page, so a branch holds the distance to its target's operation.
//! Branches out of the page go to a `Leave` of their own. An instruction whose second half lies in
//! the next page is a `Crossing`: four operations of which the first asks for that half when it is
//! executed, the second is the instruction itself, and the others are the two ways on.
//!
//! Instructions are read from a copy of the page, taken when the page was last translated: what
//! RISC-V allows until the next `fence.i`. The copy is also what a reused page is compared with.

use super::Bus;
use super::decode::{decode, decode_half, length};
use super::fuse::fuse;
use super::handlers::{Handler, handler_of};
use super::op::{Code, Op, SINK};

/// The unit that is decoded: the smallest page of every format.
pub(super) const PAGE: usize = 4096;
/// The size of a threaded operation.
pub(super) const STEP: isize = size_of::<Threaded<()>>() as isize;
/// No operation for this offset yet.
const NONE: u16 = u16::MAX;

pub(super) type Words = [u64; PAGE / 8];

/// An operation, and the function that does it and what is fused with it.
#[repr(C)]
pub(super) struct Threaded<B> {
    pub handler: Handler<B>,
    pub op: Op,
}

pub(super) struct Page<B> {
    index: [u16; PAGE / 2],
    ops: Vec<Threaded<B>>,
    offsets: Vec<u16>,
    words: Words,
}

impl<B: Bus> Page<B> {
    pub fn new(words: Words) -> Box<Page<B>> {
        Box::new(Page { index: [NONE; PAGE / 2], ops: Vec::new(), offsets: Vec::new(), words })
    }

    /// The bytes that were decoded.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// The operation of the instruction at `offset`, if it is decoded already.
    #[inline(always)]
    pub fn find(&self, offset: usize) -> Option<*const Threaded<B>> {
        let position = self.index[offset / 2 % (PAGE / 2)];
        // SAFETY: `index` holds NONE or positions in `ops`, which never shrinks.
        (position != NONE).then(|| unsafe { self.ops.as_ptr().add(position.into()) })
    }

    /// The operation of the instruction at `offset`.
    pub fn reach(&mut self, offset: usize) -> *const Threaded<B> {
        let first = self.ops.len();
        let position = self.position(offset);
        let mut next = first;
        while next < self.ops.len() {
            self.resolve(next);
            next += 1;
        }
        (first..self.ops.len()).for_each(|at| self.thread(at));
        self.ops.as_ptr().wrapping_add(position)
    }

    /// The page offset of the instruction that `ip`, a pointer into `ops`, belongs to.
    pub fn offset_of(&self, ip: *const Threaded<B>) -> u64 {
        let at = self.position_of(ip);
        // A way out of the page stands at no instruction: it is where it leads.
        match self.ops[at].op.code {
            Code::Leave => self.ops[at].op.operand(),
            _ => self.offsets[at].into(),
        }
    }

    /// The encoding of the instruction at `ip`, which is four bytes long.
    pub fn bits_of(&self, ip: *const Threaded<B>) -> u32 {
        let at = self.position_of(ip);
        let offset = usize::from(self.offsets[at]);
        let second = match offset + 2 {
            PAGE => self.ops[at - 1].op.imm as u16,
            offset => self.half(offset),
        };
        u32::from(self.half(offset)) | u32::from(second) << 16
    }

    fn position_of(&self, ip: *const Threaded<B>) -> usize {
        (ip.addr() - self.ops.as_ptr().addr()) / STEP as usize
    }

    /// Complete the `Crossing` at `ip` by its second half, and return its instruction.
    pub fn cross(&mut self, ip: *const Threaded<B>, second: u16) -> *const Threaded<B> {
        let at = self.position_of(ip);
        if self.ops[at].op.imm != i32::from(second) {
            let bits = u32::from(self.half(PAGE - 2)) | u32::from(second) << 16;
            let mut op = self.place(decode(bits), PAGE - 2, 4);
            if op.is_branch() {
                self.ops[at + 3].op.imm = op.offset() + (PAGE - 2) as i32;
                op.set_offset(distance(at + 1, at + 3));
            } else if op.code == Code::Jal {
                op.code = Code::JalFar;
                op.set_target(op.target() + (PAGE - 2) as i32);
            }
            self.ops[at].op.imm = second.into();
            self.ops[at + 1] = Threaded { handler: handler_of(op.code), op };
        }
        self.ops.as_ptr().wrapping_add(at + 1)
    }

    /// The halfword at `offset`.
    fn half(&self, offset: usize) -> u16 {
        (self.words[offset / 8] >> (offset % 8 * 8)) as u16
    }

    /// The position of the operation for `offset`; decodes a stream when there is none.
    fn position(&mut self, offset: usize) -> usize {
        if self.index[offset / 2] == NONE {
            self.decode_stream(offset);
        }
        self.index[offset / 2].into()
    }

    fn push(&mut self, op: Op, offset: usize) {
        self.ops.push(Threaded { handler: handler_of(op.code), op });
        self.offsets.push(offset as u16);
    }

    /// Decode from `offset` to the next operation that does not fall through. Branches stay
    /// unresolved.
    fn decode_stream(&mut self, mut offset: usize) {
        while offset < PAGE {
            let known = self.index[offset / 2];
            if known != NONE {
                let goto = Op::new(Code::Goto, SINK, 0, distance(self.ops.len(), known.into()));
                return self.push(goto, offset);
            }
            // At most one operation and one `Leave` for each halfword, and a `Goto` for each
            // stream: 16 bits suffice.
            self.index[offset / 2] = self.ops.len() as u16;
            let half = self.half(offset);
            let size = length(half);
            if size == 4 && offset == PAGE - 2 {
                return self.push_crossing();
            }
            let op = match size {
                2 => decode_half(half),
                _ => decode(u32::from(half) | u32::from(self.half(offset + 2)) << 16),
            };
            let op = self.place(op, offset, size);
            self.push(op, offset);
            if op.ends_stream() {
                return;
            }
            offset += usize::from(size);
        }
        self.push(Op::new(Code::Leave, SINK, 0, PAGE as i32), PAGE);
    }

    fn push_crossing(&mut self) {
        self.push(Op::new(Code::Crossing, SINK, 0, -1), PAGE - 2);
        self.push(Op::illegal(0), PAGE - 2);
        self.push(Op::new(Code::Leave, SINK, 0, PAGE as i32 + 2), PAGE);
        self.push(Op::new(Code::Leave, SINK, 0, 0), PAGE);
    }

    /// Put into `op` what depends on its place only.
    fn place(&self, mut op: Op, offset: usize, size: u16) -> Op {
        let link = offset as u16 + size;
        match op.code {
            Code::Auipc => op.imm += offset as i32,
            Code::Jal => op.set_link(link),
            Code::Jalr | Code::Jr => op.imm |= i32::from(link),
            _ => {}
        }
        op
    }

    /// Give the operation at `at` its function, with the next ones fused into it if they can be.
    fn thread(&mut self, at: usize) {
        let op = self.ops[at].op;
        let fused = match &mut self.ops[at + 1..] {
            [] => None,
            [second] => fuse(&op, &mut second.op, None),
            [second, third, ..] => fuse(&op, &mut second.op, Some(&mut third.op)),
        };
        self.ops[at].handler = handler_of(fused.unwrap_or(op.code));
    }

    /// Give the branch or jump at `at`, if it is one, its target.
    fn resolve(&mut self, at: usize) {
        let mut op = self.ops[at].op;
        let origin = i32::from(self.offsets[at]);
        if op.is_branch() {
            let target = origin + op.offset();
            let to = match usize::try_from(target) {
                Ok(inside @ 0..PAGE) => self.position(inside),
                _ => {
                    self.push(Op::new(Code::Leave, SINK, 0, target), PAGE);
                    self.ops.len() - 1
                }
            };
            op.set_offset(distance(at, to));
        } else if op.code == Code::Jal {
            let target = origin + op.target();
            match usize::try_from(target) {
                Ok(inside @ 0..PAGE) => op.set_target(distance(at, self.position(inside))),
                _ => {
                    op.code = Code::JalFar;
                    op.set_target(target);
                }
            }
        }
        self.ops[at].op = op;
    }
}

/// The distance between two operations in bytes.
fn distance(from: usize, to: usize) -> i32 {
    (to as i32 - from as i32) * STEP as i32
}
