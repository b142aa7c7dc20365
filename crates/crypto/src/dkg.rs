//! Key generation without a dealer: every participant deals, the agreed order of what they said decides, and nobody
//! ever holds the key. Pure: a replica computes the same outcome from the same ordered commands, and a late one gets
//! its share by replaying them.
//!
//! ```text
//!            Deal, Deal, ... | Confirm, Confirm, ... | Close
//!   Dealing ----------------> Confirming -------------> Closed: one GroupKey, and a KeyShare for each participant
//!            the cut: enough            enough           \--> Failed: begin again with another context
//!            valid dealings             confirmations
//!
//!            Deal, Deal, ...        where dealers cannot make a bad one: nobody has to confirm
//!   Dealing ----------------> Closed
//! ```
//!
//! - A *dealing* is a random polynomial of degree threshold - 1 in public, its coefficients times the generator
//!   (Feldman), with one share of it for each participant, encrypted to that participant's key, and proofs that the
//!   dealer knows the constant term and the ephemeral key. The first of a dealer counts. A dealer that says two
//!   different valid ones is excluded.
//! - When enough dealings stand, each participant opens its shares and *confirms*. A share that does not fit its
//!   polynomial is a *complaint*: the shared point with a proof that it is the right one, so that everyone can open
//!   the share and see. A complaint that shows a bad share excludes the dealer; any other is counted and ignored.
//! - *Close* sums the dealings that are left. Shares of the sum are the sums of shares.
//! - Where dealings are *attested* ([`Assurance::Attested`]) the last of them closes. A complaint may come afterwards: it
//!   is checked in the same way and changes nothing but what is known of the dealer.
//!
//! # Why it is secure
//! Of n = 3f+1 participants, f are at fault; threshold f+1; n-f dealings and n-f confirmations. Then:
//! - *Nobody signs alone.* At most f shares of each polynomial of degree f are known to those at fault, which is
//!   nothing. At least f+1 of the n-f dealings are of correct dealers, who are never excluded (an honest dealer says
//!   one thing, and a complaint has to prove its shared point); so the key contains a secret nobody at fault knows.
//! - *It can be used.* Of n-f confirming participants f+1 are correct, and each of them either has good shares of
//!   all dealers left or excluded the dealer; so f+1 correct participants can sign. One that was too slow to complain
//!   may be left without a share ([`NoShare::BadShares`]), and knows it.
//! - *Slowness costs no secrecy.* No share is ever published because somebody did not answer, which would be fatal
//!   with threshold f+1: shares travel encrypted in the order itself. A complaint publishes one share, of a dealer
//!   that is thereby excluded, or else one that the complainer could have published anyway.
//! - *A complaint opens nothing else.* The shared point e*R would open every dealing with a related R. The proof of
//!   knowledge of r, bound to the ceremony and the dealer, keeps a dealer from reusing or shifting another's R. The
//!   key stream is bound to dealer and participant, so copied encryption keys gain nothing either, and encryption
//!   keys therefore need no proof of possession: a participant with a key it does not know only blinds itself.
//! - *Nothing is replayed.* Everything hashed includes the digest of the [`Setup`], with the caller's context.
//!
//! # Attested dealings
//! Of n = 2f+1 participants f are at fault; threshold f+1; f+1 dealings, each made by [`Dealing::make`] in a place that
//! its participant cannot get into, which makes one for each ceremony and never shows what it was made from. The caller
//! lets no others in. Then:
//! - *Everyone has a share.* What such a place makes by these rules fits them: each participant's share of each dealing is
//!   good, whether it is there or not. So there is nothing to confirm and nobody to wait for, and with the key n-f = f+1
//!   correct participants can sign. One that deals by other rules is bound to those, and is no dealing here.
//! - *There is a key.* f+1 correct participants deal, so f+1 dealings come, however slow they are: no assumption on time.
//! - *Nobody signs alone*, for the same reason as above, and it takes no such place: of f+1 dealings one is of a correct
//!   participant, of which those at fault know f shares, although they saw into the places of all others.
//! - *No choice among dealings.* One for each ceremony: who deals last can keep his back, but not try another.
//! - If such a place is broken after all, whom it gave a bad share finds out ([`NoShare::BadShares`]) and can prove it to
//!   everybody, as above ([`Ceremony::broken`]). The key stands, since it may be known and in use by then: the others
//!   sign with it as long as f+1 of them have shares.
//!
//! # What it does not give
//! - The key is not uniformly random: who deals last can bias it by choosing whether to, and who influences the order
//!   can choose which dealings make the cut. For BLS signatures that is harmless, since they are unforgeable under
//!   such a bias too (Gennaro et al., J. Cryptology 2007, on this way of generating keys; Gurkan et al., Eurocrypt
//!   2021, for BLS). It would not do for a beacon's first value.
//! - With 2f+1 participants, n-f confirmations guarantee one correct holder of a share only: whoever may be lied to there
//!   needs attested dealings. If participants only crash, no dealing is bad, and f+1 dealings and confirmations suffice.
//! - The argument is for an adversary that has chosen its victims beforehand. It assumes SHA-256 a random oracle and
//!   the (gap) Diffie-Hellman problem in G1 hard.
//! - Whoever gets an encryption key later and has the transcript gets that participant's shares: encryption keys are
//!   fresh for each epoch and erased after it.
//! - Who speaks is the caller's to authenticate.
//!
//! Source of the order of steps: the key generation of Sui (fastcrypto-tbls) and Groth, ePrint 2021/339; proofs are
//! those of Schnorr and of Chaum and Pedersen, made non-interactive by hashing.

mod ceremony;
mod complaint;
mod dealing;
mod encryption;
mod proof;
mod setup;

#[cfg(test)]
mod tests;

pub use ceremony::{Ceremony, Command, Failure, NoShare, Outcome, Phase, Progress, Reason, Refused};
pub use complaint::{Complaint, Confirm};
pub use dealing::{BadDealing, Dealing, DealingSeed};
pub use encryption::{DecryptionKey, EncryptionKey, PointBytes};
pub use proof::Proof;
pub use setup::{Assurance, BadSetup, PARTICIPANTS_MAX, Setup};
