//! Known ways to get a client wrong, which tests switch on to see that the checks find them.

use smr_known_bugs::Bug;

/// In `judge`: no look at the signature.
pub static TRUSTS_ITS_CONTACT: Bug = Bug {
    name: "trusts-its-contact",
    what: "A client takes the word of one replica.",
    source: "PBFT, section 4.1: f+1 equal replies",
};

/// All of them.
pub const ALL: &[&Bug] = &[&TRUSTS_ITS_CONTACT];
