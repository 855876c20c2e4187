//! Pairs of operations that are executed by one arm of the dispatch.
//!
//! Only the code of the first operation changes: the arm takes the operands of the second from where it stands, which
//! is also where a jump to it finds it whole. Hence any neighbours may be fused, and pairs may overlap.

use super::code::{Code, operations};
use super::op::Op;

macro_rules! define {
    ($kinds:ident $list:tt pairs { $($pair:ident: $first:ident $a:ident, $second:ident $b:ident;)* }) => {
        /// The code that does `first` and then `second`.
        fn pair(first: Code, second: Code) -> Option<Code> {
            match (first, second) {
                $((Code::$a, Code::$b) => Some(Code::$pair),)*
                _ => None,
            }
        }
    };
}
operations!(define);

/// Fuse what can be fused in `ops`, whose streams are complete.
pub(super) fn fuse(ops: &mut [Op]) {
    for at in 1..ops.len() {
        if let Some(code) = pair(ops[at - 1].code, ops[at].code) {
            ops[at - 1].code = code;
        }
    }
}
