//! The break, forks, pins, device frames and the end of a space.

use super::before::{device, everything, foreign, many, shared, touched};
use super::world::{RW, at, pages};
use super::{Keeps, Memory, Scenario, scenario};
use crate::format::Format;

pub fn all<F: Format>() -> Vec<Scenario<F>> {
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
