//! Judges of what was seen: whether a history could have been produced by one machine, one command at a time; and, of
//! `lanes`, whether the invariants on which its safety rests hold after each step.

pub mod bank;
pub mod kv;
pub mod lanes;
pub mod linear;
