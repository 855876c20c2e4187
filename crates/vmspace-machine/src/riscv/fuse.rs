//! Pairs and triples of operations that are executed by one function.
//!
//! Only the function of the first operation changes: it takes the operands of the others from
//! where they stand, which is also where a jump to one finds it whole. Hence any neighbours may be
//! fused, and they may overlap. An operation that takes the result of the one before it as its
//! first operand can have it without a detour through the register file; commutative operations are
//! turned so that it is the first.

use super::code::{Code, operations};
use super::op::Op;

macro_rules! define {
    (
        $kinds:ident $list:tt
        $others:ident $special:tt
        pairs { $($pair:ident: $k1:ident $a:ident $x1:ident, $k2:ident $b:ident $x2:ident;)* }
        triples { $($triple:ident:
            $l1:ident $c:ident $y1:ident, $l2:ident $d:ident $y2:ident,
            $l3:ident $e:ident $y3:ident;)* }
    ) => {
        /// The code that does `first` and then `second`; `linked` if the second's first operand is
        /// from the first.
        fn pair(first: Code, linked: bool, second: Code) -> Option<Code> {
            match (first, linked, second) {
                $((Code::$a, operand!($x2), Code::$b) => Some(Code::$pair),)*
                _ => None,
            }
        }

        /// The code that does three operations.
        fn triple([first, second, third]: [Code; 3], linked: [bool; 2]) -> Option<Code> {
            match (first, linked[0], second, linked[1], third) {
                $((Code::$c, operand!($y2), Code::$d, operand!($y3), Code::$e) => {
                    Some(Code::$triple)
                })*
                _ => None,
            }
        }
    };
}

/// An operand from the register file is right either way.
macro_rules! operand {
    (v) => {
        true
    };
    (x) => {
        _
    };
}
operations!(define);

/// The code that does `first`, `second` and perhaps `third` in one, if there is one; where order
/// does not matter, their sources are turned so that more can be fused.
pub(super) fn fuse(first: &Op, second: &mut Op, third: Option<&mut Op>) -> Option<Code> {
    turn(first, second);
    let linked = first.rd == second.rs1;
    let three = third.and_then(|third| {
        turn(second, third);
        let codes = [first.code, second.code, third.code];
        triple(codes, [linked, second.rd == third.rs1])
    });
    three.or_else(|| pair(first.code, linked, second.code))
}

/// Let `op` have the result of `before` as its first operand, if order does not matter to it.
fn turn(before: &Op, op: &mut Op) {
    use Code::*;
    let commutes = matches!(op.code, Add | And | Or | Xor | Mul | Addw | Mulw | Beq | Bne);
    if commutes && op.rs2() == before.rd && op.rs1 != before.rd {
        *op = Op::with_two(op.code, op.rd, op.rs2(), op.rs1, op.offset());
    }
}
