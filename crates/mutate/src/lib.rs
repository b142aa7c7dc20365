//! Changes to what is sent, drawn from a seed: for fuzzers of whatever reads it, and for replicas that misbehave in a
//! simulation. Knows nothing of what the values mean.
//!
//! - [`Encoding`]: the bytes of a value and where its fields stand in them. Fields need no description of the type: an
//!   encoder writes one after the other, so each write is a field, and an element of a list is what can be taken out
//!   so that the rest still reads.
//! - [`Encoding::small`]: one field changed by a little, as in ByzzFuzz (Winter et al., OOPSLA 2023,
//!   doi:10.1145/3586053): what is changed still looks like what a replica would say.
//! - [`Encoding::wild`]: several changes of any size, to fields or to bytes: lengths that lie, cuts, wrong tags.
//! - [`text`]: the same for texts.
//! - [`pins`]: encodings of sample values, pinned by their hashes in a file.

mod dice;
mod encoding;
pub mod pins;
pub mod runs;
pub mod text;

pub use dice::Dice;
pub use encoding::Encoding;
