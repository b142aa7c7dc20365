//! Known ways to get keys and signatures wrong, which tests switch on to see that the checks find them.

use smr_known_bugs::Bug;

/// In `combine_good`: no look at what came out.
pub static COMBINES_UNVERIFIED: Bug = Bug {
    name: "combines-unverified",
    what: "The combined signature is not verified, so a bad share spoils the reply and its author is not found.",
    source: "our own history",
};

/// In `confirm`: it stays.
pub static KEEPS_A_BAD_DEALER: Bug = Bug {
    name: "keeps-a-bad-dealer",
    what: "A dealer whose bad share was proven stays in, and its victim has no share of the key.",
    source: "Pedersen 1991; Gennaro et al. 2007: complaints disqualify",
};

/// In `Complaint::is_proven`: never.
pub static BELIEVES_NO_COMPLAINT: Bug = Bug {
    name: "believes-no-complaint",
    what: "A true complaint counts as a false one.",
    source: "our own history",
};

/// All of them.
pub const ALL: &[&Bug] = &[&COMBINES_UNVERIFIED, &KEEPS_A_BAD_DEALER, &BELIEVES_NO_COMPLAINT];
