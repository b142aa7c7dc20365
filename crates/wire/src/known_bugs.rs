//! Known ways to get what clients see wrong, which tests switch on to see that the checks find them.

use smr_known_bugs::Bug;

/// In `Reply::leaf`: any command's.
pub static LEAF_WITHOUT_NUMBER: Bug = Bug {
    name: "leaf-without-number",
    what: "A reply does not say to which command, so a contact may give a client the reply to another one.",
    source: "BFT-SMaRt and PBFT: replies carry the request's number",
};

/// All of them.
pub const ALL: &[&Bug] = &[&LEAF_WITHOUT_NUMBER];
