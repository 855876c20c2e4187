//! Memory as a processor with store buffers shows it (total store order).
//!
//! Guarantee: a CPU's stores reach memory in order, at any time later; until then it alone sees
//! them; a fence waits until all have arrived. So a load may overtake an earlier store of its own
//! CPU, and nothing else is reordered: a store-load fence that is missing shows.
//!
//! Mechanism: each CPU's buffer is part of the state, and a background thread of the model drains
//! it, one store at a time.

use crate::explorer::{Model, Step};
use std::collections::VecDeque;
use std::hash::Hash;

/// `WORDS` words of memory, and the stores that two CPUs have on the way to them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Memory<const WORDS: usize> {
    words: [u8; WORDS],
    buffers: [VecDeque<(usize, u8)>; 2],
}

impl<const WORDS: usize> Memory<WORDS> {
    /// Memory with this content, and nothing on the way.
    pub fn new(words: [u8; WORDS]) -> Self {
        Memory { words, buffers: Default::default() }
    }

    /// What the CPU sees: its own latest store, or memory.
    pub fn load(&self, cpu: usize, word: usize) -> u8 {
        let own = self.buffers[cpu].iter().rev().find(|(stored, _)| *stored == word);
        own.map_or(self.words[word], |(_, value)| *value)
    }

    /// A store, which memory sees later.
    pub fn store(&mut self, cpu: usize, word: usize, value: u8) -> Step {
        self.buffers[cpu].push_back((word, value));
        Step::Next
    }

    /// `fence(SeqCst)`: waits until all earlier stores of the CPU are in memory.
    pub fn fence(&self, cpu: usize) -> Step {
        if self.buffers[cpu].is_empty() { Step::Next } else { Step::Block }
    }

    fn drain(&mut self, cpu: usize) -> Step {
        let Some((word, value)) = self.buffers[cpu].pop_front() else { return Step::Block };
        self.words[word] = value;
        Step::Next
    }
}

/// Adds the two buffers' way to memory to a model.
pub fn with_buffers<S, const WORDS: usize>(
    model: Model<S>,
    memory: fn(&mut S) -> &mut Memory<WORDS>,
) -> Model<S>
where
    S: Clone + Eq + Hash + 'static,
{
    model
        .background("CPU 0's buffer")
        .step("drains a store", move |s| memory(s).drain(0))
        .background("CPU 1's buffer")
        .step("drains a store", move |s| memory(s).drain(1))
}

#[cfg(test)]
mod tests {
    use super::{Memory, with_buffers};
    use crate::explorer::{Model, Report, ensure};

    /// CPU 0 stores to word 0; then one of the two loads it.
    fn load_after_store(reader: usize) -> Report {
        let model = Model::new((Memory::new([0, 0]), None))
            .thread("CPU 0")
            .step("store", |(memory, _)| memory.store(0, 0, 1))
            .step("load by the reader", move |(memory, read)| *read = Some(memory.load(reader, 0)))
            .thread("CPU 1")
            .step("store elsewhere", |(memory, _)| memory.store(1, 1, 1))
            .finally(|(_, read)| ensure(*read == Some(1), "an old value is read"));
        with_buffers(model, |(memory, _)| memory).explore()
    }

    #[test]
    fn a_cpu_sees_its_own_store_at_once_and_the_other_one_later() {
        load_after_store(0).must_pass();
        load_after_store(1).must_fail("an old value is read");
    }
}
