//! The newtypes that everything above speaks in. Arithmetic on them is a named method, so that a slot is never
//! added to a view.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use smr_crypto::{Digest, PublicKey};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
            Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this. Saturates at the end of the range, which no run reaches.
            #[must_use]
            pub const fn next(self) -> $name {
                $name(self.0.saturating_add(1))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}{}", stringify!($name), self.0)
            }
        }
    };
}

counter! {
    /// Place in the total order, from 1. Slot 0 stands for "before the first".
    Slot(u64)
}
counter! {
    /// Span of one primary, from 0.
    View(u64)
}
counter! {
    /// Span of one set of key shares, from 0: no key yet.
    Epoch(u32)
}
counter! {
    /// Span of one set of voters, from 0.
    Generation(u32)
}
counter! {
    /// Index of a replica in its epoch's group, from 0.
    ReplicaId(u16)
}
counter! {
    /// A client's count of its commands within a session, from 1; each is executed at most once.
    RequestNumber(u64)
}
counter! {
    /// A session of one client, named by the slot and the place in it where it was opened; see [`SessionId::opened`].
    SessionId(u64)
}
counter! {
    /// Milliseconds since 1970 in the clock that gave it: a machine's, or the agreed one.
    Timestamp(u64)
}

impl Slot {
    /// The slot `count` places later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Slot {
        Slot(self.0.saturating_add(count))
    }

    /// The slot `count` places earlier, or slot 0.
    #[must_use]
    pub const fn minus(self, count: u64) -> Slot {
        Slot(self.0.saturating_sub(count))
    }

    /// How many slots this is after `earlier`; 0 if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Slot) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The slots after `self` up to and including `last`, in order.
    pub fn up_to(self, last: Slot) -> impl DoubleEndedIterator<Item = Slot> + use<> {
        (self.0.saturating_add(1)..=last.0).map(Slot)
    }
}

impl ReplicaId {
    /// As an index into a list of the group.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The replica at `index` of a list of the group, which has at most 65,535.
    #[must_use]
    pub fn at(index: usize) -> ReplicaId {
        ReplicaId(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

impl SessionId {
    /// The session opened by the entry at place `index` of `slot`. A slot has fewer than 65,536 entries, and
    /// slots stay below 2^48, so no two sessions share a name.
    #[must_use]
    pub const fn opened(slot: Slot, index: u16) -> SessionId {
        SessionId((slot.0 << 16) | index as u64)
    }
}

impl Timestamp {
    /// Milliseconds from `earlier` to this; 0 if this is not later.
    #[must_use]
    pub const fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time `ms` milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

/// One replicated application: the digest of its genesis, so that the name commits to who runs it.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct ServiceId(pub Digest);

/// Who asks: a client is its public key.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct ClientId(pub PublicKey);

impl std::fmt::Display for ServiceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
