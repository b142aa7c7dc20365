//! Judges of what was seen: whether a history could have been produced by one machine, one command at a time.

pub mod bank;
pub mod kv;
pub mod linear;
