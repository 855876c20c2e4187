//! Reading the tree without locks: a slot and its layout from one instant.
//!
//! Scenario 7 (O8, R26). The rule: an editor prepares privately, then makes the sequences of the
//! nodes that it edits odd, swaps layouts and slots, and makes them even; a reader takes a node's
//! slot and layout between two equal even readings, and does so for every node that its answer came
//! from; a node that is detached stays odd for ever, and who meets it starts again from the root.
//! Weaker: read slot, then layout, with no sequence. Then the reader sees the slot empty, the
//! editor attaches a child and trims the layout, and the reader finds nothing in it: a page that
//! was mapped all the time is "unmapped". Weaker: trust the child without its sequence, or
//! close a detached child. Then hand-back takes the child's pieces while the reader is on its way
//! down.

use crate::explorer::{Model, Report, Step, ensure};

const MISSED: &str = "a mapped page is called unmapped";

/// Where a reader begins, and begins again.
const ROOT: &str = "the parent's sequence";

/// Which nodes a reader validates by their sequence.
#[derive(Clone, Copy, PartialEq)]
enum Validates {
    EveryNode,
    TheParentOnly,
    Nothing,
}

/// What hand-back does with the sequence of the child that it detaches.
#[derive(Clone, Copy, PartialEq)]
enum Detached {
    StaysOdd,
    IsClosed,
}

/// A node's sequence, odd inside the window of an edit, and whether its layout has the piece.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Node {
    sequence: u8,
    has_piece: bool,
}

impl Node {
    /// Opens or closes the window of an edit.
    fn turn(&mut self) {
        self.sequence += 1;
    }
}

/// One slot of a parent, the child that comes and goes, and what the reader has read.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Tree {
    parent: Node,
    child: Node,
    child_attached: bool,
    read_sequence: u8,
    read_child: bool,
    read_piece: bool,
    answer: Option<bool>,
}

/// Begins to read a node, unless an edit is under way or has detached it.
fn begin(node: Node, read_sequence: &mut u8) -> Step {
    *read_sequence = node.sequence;
    if node.sequence.is_multiple_of(2) { Step::Next } else { Step::Goto(ROOT) }
}

/// Goes on if the node has not changed since, else starts again from the root.
fn validate(node: Node, read_sequence: u8) -> Step {
    if node.sequence == read_sequence { Step::Next } else { Step::Goto(ROOT) }
}

fn reading_during_push_down_and_hand_back(validates: Validates, detached: Detached) -> Report {
    let parent = validates != Validates::Nothing;
    let child = validates == Validates::EveryNode;
    let mapped = Node { has_piece: true, ..Node::default() };
    Model::new(Tree { parent: mapped, ..Tree::default() })
        .thread("T0 reads")
        .step_if(parent, ROOT, |t| begin(t.parent, &mut t.read_sequence))
        .step("the slot", |t| t.read_child = t.child_attached)
        .step("the parent's layout", |t| t.read_piece = t.parent.has_piece)
        .step_if(parent, "the parent's sequence again", |t| validate(t.parent, t.read_sequence))
        .step("answer or descend", |t| if t.read_child { Step::Next } else { Step::Goto("answer") })
        .step_if(child, "the child's sequence", |t| begin(t.child, &mut t.read_sequence))
        .step("the child's layout", |t| t.read_piece = t.child.has_piece)
        .step_if(child, "the child's sequence again", |t| validate(t.child, t.read_sequence))
        .step("answer", |t| t.answer = Some(t.read_piece))
        .thread("T1 edits")
        .step("prepare the child", |t| t.child.has_piece = true)
        .step("push-down: open the parent", |t| t.parent.turn())
        .step("attach the child", |t| t.child_attached = true)
        .step("trim the parent's layout", |t| t.parent.has_piece = false)
        .step("close the parent", |t| t.parent.turn())
        .step("hand-back: open the parent", |t| t.parent.turn())
        .step("open the child", |t| t.child.turn())
        .step("take the child's pieces", |t| t.child.has_piece = false)
        .step("give them to the parent", |t| t.parent.has_piece = true)
        .step("detach the child", |t| t.child_attached = false)
        .step_if(detached == Detached::IsClosed, "close the child", |t| t.child.turn())
        .step("close the parent", |t| t.parent.turn())
        .always(|t| ensure(t.answer != Some(false), MISSED))
        .explore()
}

#[test]
fn reading_a_slot_and_its_layout_without_the_sequence_misses_a_mapped_page() {
    reading_during_push_down_and_hand_back(Validates::Nothing, Detached::StaysOdd)
        .must_fail(MISSED);
}

#[test]
fn trusting_a_child_without_its_sequence_misses_a_mapped_page() {
    reading_during_push_down_and_hand_back(Validates::TheParentOnly, Detached::StaysOdd)
        .must_fail(MISSED);
}

#[test]
fn closing_a_detached_child_misses_a_mapped_page() {
    reading_during_push_down_and_hand_back(Validates::EveryNode, Detached::IsClosed)
        .must_fail(MISSED);
}

#[test]
fn a_mapped_page_is_never_missed_when_every_node_is_validated() {
    reading_during_push_down_and_hand_back(Validates::EveryNode, Detached::StaysOdd).must_pass();
}
