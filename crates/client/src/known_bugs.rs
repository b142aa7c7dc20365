//! Known ways to get a client wrong, which tests switch on to see that the checks find them.

use smr_known_bugs::Bug;

/// In `judge`: no look at the signature.
pub static TRUSTS_ITS_CONTACT: Bug = Bug {
    name: "trusts-its-contact",
    what: "A client takes the word of one replica.",
    source: "PBFT, section 4.1: f+1 equal replies",
};

/// In `give_up_late`: as if it had never left.
pub static SAYS_IT_WAS_NEVER_SENT: Bug = Bug {
    name: "says-it-was-never-sent",
    what: "A client that gives up says that its command was not executed, though it was sent.",
    source: "bft-smart/library #47; jepsen: an unknown outcome is not a failure",
};

/// All of them.
pub const ALL: &[&Bug] = &[&TRUSTS_ITS_CONTACT, &SAYS_IT_WAS_NEVER_SENT];
