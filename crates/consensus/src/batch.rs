//! What is ordered: batches of entries. An entry is a client's request or a replica's own command to the system;
//! its content means nothing here.

use std::io::{self, Read, Write};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::{Digest, Signature, Verifier};
use smr_wire::{ReplicaId, Request, Timestamp};

use crate::group::{Group, Seat};
use crate::verified::Refused;

/// Entries that a batch may have, whatever the configuration says. A session is named by the place of its entry in
/// 16 bits; see [`smr_wire::SessionId::opened`].
pub const BATCH_ENTRIES_MAX: usize = 1 << 14;

const _: () = assert!(BATCH_ENTRIES_MAX < 1 << 16, "a place in a batch has 16 bits");

/// Bytes of a replica's command to the system at most, with its signature. Fits into every batch.
pub const SYSTEM_ENTRY_BYTES_MAX: usize = 64 << 10;

/// Something that waits to be ordered. Cheap to clone; its digest is computed once.
#[derive(Clone, Debug)]
pub struct Entry(Arc<EntryInner>);

#[derive(Debug)]
struct EntryInner {
    body: EntryBody,
    digest: Digest,
    bytes: usize,
}

/// What an entry holds.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum EntryBody {
    /// A client's request, under its signature.
    Client(Request),
    /// A replica's command to the replicated system, under its signature.
    System(SystemEntry),
}

/// A replica's command to the replicated system: dealings of key shares and the like.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SystemEntry {
    /// Who says it.
    pub author: ReplicaId,
    /// The command, in an encoding that the replica knows.
    pub payload: Vec<u8>,
    /// The author's, over the payload.
    pub signature: Signature,
}

impl SystemEntry {
    /// Signs `payload` as this seat's command.
    #[must_use]
    pub fn sign(seat: &Seat, payload: Vec<u8>) -> SystemEntry {
        let signature = seat.sign(&seat.group.lasting_statement("SMRCLOUD-SYSTEM-V1", &payload));
        SystemEntry { author: seat.me, payload, signature }
    }
}

impl Entry {
    /// An entry with this body.
    #[must_use]
    pub fn new(body: EntryBody) -> Entry {
        let encoded = smr_wire::encode(&body);
        let digest = Digest::of("SMRCLOUD-ENTRY-V1", &[&encoded]);
        Entry(Arc::new(EntryInner { body, digest, bytes: encoded.len() }))
    }

    /// What it holds.
    #[must_use]
    pub fn body(&self) -> &EntryBody {
        &self.0.body
    }

    /// Digest of all of it, signature included: two replicas that agree on it judge its signature alike.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Length of its encoding in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Whether the entry is no larger than its kind may be.
    ///
    /// # Errors
    /// [`Refused::BatchLimit`].
    pub fn check_size(&self, limits: BatchLimits) -> Result<(), Refused> {
        let bytes_max = match self.body() {
            EntryBody::Client(_) => limits.bytes_max,
            EntryBody::System(_) => SYSTEM_ENTRY_BYTES_MAX,
        };
        if self.bytes() <= bytes_max { Ok(()) } else { Err(Refused::BatchLimit) }
    }

    /// Whether whoever it names as author signed it for this service.
    ///
    /// # Errors
    /// [`Refused::Request`] or [`Refused::Signature`].
    pub fn check(&self, group: &Group, verifier: &Verifier) -> Result<(), Refused> {
        match self.body() {
            EntryBody::Client(request) => request.check(group.service, verifier).map_err(Refused::Request),
            EntryBody::System(SystemEntry { author, payload, signature }) => {
                let statement = group.lasting_statement("SMRCLOUD-SYSTEM-V1", payload);
                if group.signed_by(*author, &statement, signature, verifier) {
                    Ok(())
                } else {
                    Err(Refused::Signature)
                }
            }
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Entry {}

impl BorshSerialize for Entry {
    fn serialize<W: Write>(&self, writer: &mut W) -> io::Result<()> {
        self.0.body.serialize(writer)
    }
}

impl BorshDeserialize for Entry {
    fn deserialize_reader<R: Read>(reader: &mut R) -> io::Result<Entry> {
        EntryBody::deserialize_reader(reader).map(Entry::new)
    }
}

/// One or more entries sharing a slot, and their proposer's time. Cheap to clone; its digest is computed once.
#[derive(Clone, Debug)]
pub struct Batch(Arc<BatchInner>);

#[derive(Debug)]
struct BatchInner {
    time: Timestamp,
    entries: Vec<Entry>,
    digest: Digest,
}

impl Batch {
    /// A batch proposed at `time`.
    #[must_use]
    pub fn new(time: Timestamp, entries: Vec<Entry>) -> Batch {
        let digests: Vec<Digest> = entries.iter().map(Entry::digest).collect();
        let digest = Digest::of_value("SMRCLOUD-BATCH-V1", &(time, digests));
        Batch(Arc::new(BatchInner { time, entries, digest }))
    }

    /// The batch that fills a slot in which nothing can have been decided when its view failed, or whose proposer has
    /// nothing to propose.
    #[must_use]
    pub fn nil() -> Batch {
        Batch::new(Timestamp(0), Vec::new())
    }

    /// The proposer's clock; what the service takes as time also never runs backwards.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.0.time
    }

    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0.entries
    }

    /// Digest of time and entries. It names neither slot nor view: votes do.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Length of the entries' encodings in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries().iter().map(Entry::bytes).sum()
    }

    /// Whether the batch keeps the limits and every entry its signature.
    ///
    /// # Errors
    /// [`Refused::BatchLimit`], or what is wrong with the first bad entry.
    pub fn check(&self, group: &Group, limits: BatchLimits, verifier: &Verifier) -> Result<(), Refused> {
        if self.entries().len() > limits.entries_max || self.bytes() > limits.bytes_max {
            return Err(Refused::BatchLimit);
        }
        self.entries().iter().try_for_each(|entry| {
            entry.check_size(limits)?;
            entry.check(group, verifier)
        })
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Batch) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Batch {}

impl BorshSerialize for Batch {
    fn serialize<W: Write>(&self, writer: &mut W) -> io::Result<()> {
        self.0.time.serialize(writer)?;
        self.0.entries.serialize(writer)
    }
}

impl BorshDeserialize for Batch {
    fn deserialize_reader<R: Read>(reader: &mut R) -> io::Result<Batch> {
        let time = Timestamp::deserialize_reader(reader)?;
        // As borsh writes a list, read so that nobody can show us more entries than there are places.
        let count = u32::deserialize_reader(reader)? as usize;
        if count > BATCH_ENTRIES_MAX {
            let error = format!("a batch of {count} entries, but at most {BATCH_ENTRIES_MAX} are allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let entries = (0..count).map(|_| Entry::deserialize_reader(reader)).collect::<io::Result<_>>()?;
        Ok(Batch::new(time, entries))
    }
}

/// How large a batch may be; see [`crate::Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Entries at most.
    pub entries_max: usize,
    /// Bytes of their encodings at most.
    pub bytes_max: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::entry;

    #[test]
    fn the_digest_covers_time_order_and_content() {
        let (a, b) = (entry(1, 1), entry(1, 2));
        let digest = |time, entries: &[&Entry]| {
            Batch::new(Timestamp(time), entries.iter().map(|e| (*e).clone()).collect()).digest()
        };
        assert_eq!(digest(5, &[&a, &b]), digest(5, &[&a, &b]));
        assert_ne!(digest(5, &[&a, &b]), digest(5, &[&b, &a]));
        assert_ne!(digest(5, &[&a, &b]), digest(6, &[&a, &b]));
        assert_ne!(digest(5, &[&a]), digest(5, &[&a, &b]));
    }

    #[test]
    fn a_batch_of_more_entries_than_there_are_places_is_not_read() {
        let read = |count: usize| {
            let batch = Batch::new(Timestamp(1), vec![entry(1, 1); count]);
            smr_wire::decode::<Batch>(&smr_wire::encode(&batch), usize::MAX)
        };
        assert!(read(BATCH_ENTRIES_MAX).is_ok());
        assert!(read(BATCH_ENTRIES_MAX + 1).is_err());
    }

    #[test]
    fn a_command_to_the_system_is_refused_at_the_door_if_it_is_too_large_for_any() {
        let (group, keys) = crate::pbft::tests::group_of_four();
        let seat = Seat::new(group.clone(), ReplicaId(0), keys[0].clone());
        let batch = |bytes| {
            let body = EntryBody::System(SystemEntry::sign(&seat, vec![0; bytes]));
            Batch::new(Timestamp(1), vec![Entry::new(body)])
        };
        let limits = BatchLimits { entries_max: 9, bytes_max: 1 << 20 };
        let check = |batch: Batch| batch.check(&group, limits, &Verifier::new(16));
        assert_eq!(check(batch(1000)), Ok(()));
        assert_eq!(check(batch(SYSTEM_ENTRY_BYTES_MAX)), Err(Refused::BatchLimit));
    }

    #[test]
    fn a_batch_reads_back_with_its_digest() {
        let batch = Batch::new(Timestamp(9), vec![entry(1, 1), entry(2, 1)]);
        let bytes = smr_wire::encode(&batch);
        assert_eq!(smr_wire::decode::<Batch>(&bytes, 1 << 20), Ok(batch));
    }
}
