//! Regions: what a range of pages is, by value.
//!
//! A [`Piece`] says what one run of pages inside one node is: attributes, the object behind it and
//! where in the object it lies. It has no identity and no reference count of its own: protecting
//! or splitting writes the node's layout and nothing else. Two neighbouring pieces are one mapping
//! to whoever lists them exactly if their [`Key`]s are equal.
//!
//! A reference to an object is *weighted*: a piece carries a share of the object's count, which a
//! split divides and a removal gives back, so the shared count is not touched by either half.

use crate::format::Rights;
use bitflags::bitflags;

bitflags! {
    /// What holds for every page of a piece. Nineteen bits at most: a piece packs them beside a
    /// page number of 45.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Attributes: u32 {
        /// Loads are allowed. (This and the next two stand where [`Rights`] has them.)
        const READ = 1;
        /// Stores are allowed.
        const WRITE = 1 << 1;
        /// Instruction fetches are allowed.
        const EXECUTE = 1 << 2;
        /// Something is mapped; without it the piece is a hole.
        const MAPPED = 1 << 3;
        /// Stores are seen by all who map the object (MAP_SHARED).
        const SHARED = 1 << 4;
        /// The mapping grows to cover faults just below it (MAP_GROWSDOWN).
        const GROWS_DOWN = 1 << 5;
        /// It is not counted against memory (MAP_NORESERVE).
        const NO_RESERVE = 1 << 6;
        /// Its frames are not the manager's: there is nothing to fault in, and nothing to copy.
        const DEVICE = 1 << 7;
        /// Its pages keep their frames (mlock(2)).
        const LOCKED = 1 << 8;
        /// They are locked as they are touched (MLOCK_ONFAULT).
        const LOCK_ON_FAULT = 1 << 9;
        /// It can be neither unmapped, moved, replaced nor protected (mseal(2)).
        const SEALED = 1 << 10;
        /// A fork's child does not have it (MADV_DONTFORK).
        const DONT_FORK = 1 << 11;
        /// A fork's child finds zeros (MADV_WIPEONFORK).
        const WIPE_ON_FORK = 1 << 12;
        /// It is accessed in any order (MADV_RANDOM).
        const RANDOM = 1 << 13;
        /// It is accessed from its start on (MADV_SEQUENTIAL).
        const SEQUENTIAL = 1 << 14;
        /// Stores may never be allowed: it shows a file that was not opened for writing.
        const NEVER_WRITE = 1 << 15;
    }
}

/// How many bits of a piece's first word the attributes take.
const ATTRIBUTE_BITS: u32 = 19;

/// How many bits of a piece's second word the weight takes.
const WEIGHT_BITS: u32 = u16::BITS;

/// A piece names objects below `1 << OBJECT_BITS`.
pub const OBJECT_BITS: u32 = u64::BITS - WEIGHT_BITS;

impl Attributes {
    /// Where attributes and rights agree.
    const RIGHTS: Attributes = Attributes::READ.union(Attributes::WRITE).union(Attributes::EXECUTE);

    /// What locking sets.
    pub const LOCKS: Attributes = Attributes::LOCKED.union(Attributes::LOCK_ON_FAULT);

    /// The attributes that stand for these rights.
    #[inline]
    pub fn of(rights: Rights) -> Attributes {
        Attributes::from_bits_retain(u32::from(rights.bits())) & Attributes::RIGHTS
    }

    /// The rights that user code has through them.
    #[inline]
    pub fn rights(self) -> Rights {
        Rights::from_bits_retain((self & Attributes::RIGHTS).bits() as u8) | Rights::USER
    }

    /// The same attributes with other rights.
    pub fn with_rights(self, rights: Rights) -> Attributes {
        self.difference(Attributes::RIGHTS) | Attributes::of(rights)
    }
}

const _: () = assert!(
    Attributes::READ.bits() == Rights::READ.bits() as u32
        && Attributes::WRITE.bits() == Rights::WRITE.bits() as u32
        && Attributes::EXECUTE.bits() == Rights::EXECUTE.bits() as u32
);

/// What decides whether two neighbours are one mapping: all that Linux compares when it merges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Attributes.
    pub attributes: Attributes,
    /// The physical address of the object behind it; 0 for anonymous private memory and holes.
    pub object: u64,
    /// The page at which the object's first page would lie (wrapping); 0 without an object.
    pub origin: u64,
}

impl Key {
    /// Nothing mapped.
    pub const HOLE: Key = Key { attributes: Attributes::empty(), object: 0, origin: 0 };

    /// Private anonymous memory.
    pub const fn anonymous(attributes: Attributes) -> Key {
        Key { attributes, object: 0, origin: 0 }
    }

    /// What a fork's child has of it: no locks, and nothing of what it is not to have.
    pub fn inherited(self) -> Key {
        if self.attributes.contains(Attributes::DONT_FORK) {
            return Key::HOLE;
        }
        Key { attributes: self.attributes.difference(Attributes::LOCKS), ..self }
    }

    /// What the pages are `by` pages further on (wrapping): an object moves with them.
    pub fn shifted(self, by: u64) -> Key {
        match self.object {
            0 => self,
            _ => Key { origin: self.origin.wrapping_add(by), ..self },
        }
    }

    /// Whether something is mapped.
    pub fn is_mapped(self) -> bool {
        self.attributes.contains(Attributes::MAPPED)
    }

    /// Whether stores stay within the space until fork.
    pub fn is_private(self) -> bool {
        !self.attributes.contains(Attributes::SHARED)
    }
}

/// A run of pages with one key, up to where the next piece starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Its first page.
    pub start: u64,
    /// What its pages are.
    pub key: Key,
    /// The share of the object's count that it carries; 0 without an object.
    pub weight: u16,
}

/// Words that a piece takes in a layout's storage.
pub const PIECE_WORDS: usize = 3;

impl Piece {
    /// The piece `by` pages further on (wrapping).
    pub fn shifted(self, by: u64) -> Piece {
        Piece { start: self.start.wrapping_add(by), key: self.key.shifted(by), ..self }
    }

    /// The words that stand for it.
    pub fn encode(self) -> [u64; PIECE_WORDS] {
        [
            self.start << ATTRIBUTE_BITS | u64::from(self.key.attributes.bits()),
            self.key.object << WEIGHT_BITS | u64::from(self.weight),
            self.key.origin,
        ]
    }

    /// The piece that the words stand for.
    pub fn decode(words: [u64; PIECE_WORDS]) -> Piece {
        let attributes = words[0] as u32 & ((1 << ATTRIBUTE_BITS) - 1);
        Piece {
            start: words[0] >> ATTRIBUTE_BITS,
            key: Key {
                attributes: Attributes::from_bits_retain(attributes),
                object: words[1] >> WEIGHT_BITS,
                origin: words[2],
            },
            weight: words[1] as u16,
        }
    }

    /// The start that a first word holds.
    pub fn start_of(word: u64) -> u64 {
        word >> ATTRIBUTE_BITS
    }
}
