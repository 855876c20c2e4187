//! Objects, and what is mapped of them.

use super::before::{copied_object, empty, mapped_object, memory_object};
use super::world::pages;
use super::{Memory, Scenario, scenario};
use crate::format::Format;

pub fn all<F: Format>() -> Vec<Scenario<F>> {
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
            ..scenario("truncation under copies", copied_object, |w| {
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
