//! Names of files.

/// Whose directory it is.
pub(crate) const OWNER: &str = "owner";

/// The segment that was filled with zeros ahead of its use.
pub(crate) const NEW_SPARE: &str = "spare-new";

/// What was being made when the machine stopped begins so.
pub(crate) const TEMPORARY: &str = "tmp-";

const LOG: &str = "log-";
const SPARE: &str = "spare-";
const CHECKPOINT: &str = "cp-";
const CHUNKS: &str = "ck-";

pub(crate) fn segment(number: u64) -> String {
    format!("{LOG}{number:016}")
}

pub(crate) fn segment_number(name: &str) -> Option<u64> {
    numbered(name, LOG, segment)
}

pub(crate) fn spare(number: u64) -> String {
    format!("{SPARE}{number:016}")
}

pub(crate) fn is_spare(name: &str) -> bool {
    name.starts_with(SPARE)
}

pub(crate) fn checkpoint(slot: u64) -> String {
    format!("{CHECKPOINT}{slot:016}")
}

pub(crate) fn checkpoint_slot(name: &str) -> Option<u64> {
    numbered(name, CHECKPOINT, checkpoint)
}

pub(crate) fn chunk_file(number: u64) -> String {
    format!("{CHUNKS}{number:016}")
}

pub(crate) fn chunk_file_number(name: &str) -> Option<u64> {
    numbered(name, CHUNKS, chunk_file)
}

/// Whether it is a part of a checkpoint that was being made.
pub(crate) fn is_unfinished_checkpoint(name: &str) -> bool {
    let made = name.strip_prefix(TEMPORARY);
    made.is_some_and(|made| made.starts_with(CHECKPOINT) || made.starts_with(CHUNKS))
}

/// The name under which `name` is made.
pub(crate) fn temporary(name: &str) -> String {
    format!("{TEMPORARY}{name}")
}

/// Only the one way to write a number counts, so that no two names mean the same.
fn numbered(name: &str, prefix: &str, back: fn(u64) -> String) -> Option<u64> {
    let number = name.strip_prefix(prefix)?.parse().ok()?;
    (back(number) == name).then_some(number)
}
