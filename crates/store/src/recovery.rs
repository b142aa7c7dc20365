//! What is found when a store is opened, and whether anything that was durable is missing.
//!
//! ```text
//!   headers, newest first -> chains, oldest first -> end: torn or damaged? -> the last segment anew -> old files go
//! ```
//!
//! Nothing is changed before everything was read: a damaged directory stays as it is. The last segment is then written
//! anew, under the next number, with the records that are whole. So nothing is ever written behind a torn tail, and
//! records that were read from the system's memory after a failed sync are synced before they are believed.

use std::collections::BTreeMap;

use crate::checkpoint::{self, FoundCheckpoint};
use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::error::{Damage, Fault, OpenError, Proof, StoreError, Torn};
use crate::known_bugs::{DAMAGE_IS_TORN, GOES_ON_BEHIND_THE_CUT, MISSES_NO_SEGMENT};
use crate::names;
use crate::record::{self, Chain, Head};
use crate::segment::{self, Header, Owner, RECORDS_AT, SEAL_AT, Seal};
use crate::sheet::{self, SHEET_BYTES, Sheet, SheetFault, VERSION};
use crate::store::{Current, Found, Full, Recovered, Store};

pub(crate) fn open<D: Disk>(
    disk: D,
    config: StoreConfig,
    owner: [u8; 32],
) -> Result<(Store<D>, Found), OpenError> {
    if let Some(why) = config.fault() {
        return Err(OpenError::Config(why));
    }
    let files = segment::list(&disk)?.into_iter().map(|file| (file.name, file.bytes)).collect();
    let mut opening = Opening { disk, config, owner, files };
    let owned = opening.check_owner()?;
    let (headers, log) = opening.read_log()?;
    let (found_checkpoints, skipped) = opening.find_checkpoints()?;
    let Some((newest, last)) = headers.last().zip(log.last()) else {
        if owned || opening.files.keys().any(|name| names::checkpoint_slot(name).is_some()) {
            let damage = Damage::new(&names::segment(1), 0, Fault::Missing);
            return Err(OpenError::Damaged(damage));
        }
        return opening.begin();
    };
    let pruned = newest.pruned;
    let checkpoints: Vec<FoundCheckpoint> =
        found_checkpoints.into_iter().filter(|found| found.slot >= pruned).collect();
    if pruned > 0 && checkpoints.is_empty() {
        let file = names::segment(newest.number);
        return Err(OpenError::Damaged(Damage::new(&file, 0, Fault::NoCheckpoint { pruned })));
    }
    let torn = last.torn.clone();
    opening.remove_temporary()?;
    let current = opening.renew(newest, last)?;
    opening.clean_up(owned, &headers, newest.number)?;
    let full = headers.iter().zip(&log).take(headers.len() - 1);
    let full = full.map(|(header, segment)| Full {
        number: header.number,
        covers_from: header.covers_from,
        slot_max: segment.slot_max(),
    });
    let Opening { disk, config, owner, .. } = opening;
    let recovered = Recovered {
        disk,
        config,
        owner,
        full: full.collect(),
        current,
        next: last.next,
        pruned,
        checkpoints: checkpoints.iter().map(FoundCheckpoint::standing).collect(),
    };
    let records = log.into_iter().flat_map(|segment| segment.records).map(|(_, record)| record).collect();
    Ok((recovered.into(), Found { fresh: false, checkpoints, skipped, records, pruned, torn }))
}

struct Opening<D> {
    disk: D,
    config: StoreConfig,
    owner: [u8; 32],
    /// Every file with its length.
    files: BTreeMap<String, u64>,
}

/// What was read of a segment.
struct Segment {
    records: Vec<(Head, Vec<u8>)>,
    end: u64,
    next: u64,
    torn: Option<Torn>,
}

impl Segment {
    fn slot_max(&self) -> u64 {
        self.records.iter().map(|(head, _)| head.slot).max().unwrap_or(0)
    }
}

impl<D: Disk> Opening<D> {
    fn read(&self, file: &str, bytes: usize) -> Result<Vec<u8>, StoreError> {
        self.disk.read(file, 0, bytes).map_err(|e| StoreError::io(file, "reading", e))
    }

    fn read_sheet<S: Sheet>(&self, file: &str) -> Result<S, OpenError> {
        sheet::decode(&self.read(file, SHEET_BYTES)?).map_err(|fault| match fault {
            SheetFault::Destroyed => OpenError::Damaged(Damage::new(file, 0, Fault::Header)),
            SheetFault::Version(found) => OpenError::Version { file: file.to_string(), found, ours: VERSION },
        })
    }

    /// Whether it is written down whose directory this is.
    fn check_owner(&self) -> Result<bool, OpenError> {
        if !self.files.contains_key(names::OWNER) {
            return Ok(false);
        }
        let Owner { owner } = self.read_sheet(names::OWNER)?;
        self.check_is_ours(owner, names::OWNER).map(|()| true)
    }

    fn check_is_ours(&self, owner: [u8; 32], file: &str) -> Result<(), OpenError> {
        if owner == self.owner { Ok(()) } else { Err(OpenError::OtherOwner { file: file.to_string() }) }
    }

    /// The segments that make up the log, oldest first.
    fn read_log(&self) -> Result<(Vec<Header>, Vec<Segment>), OpenError> {
        let headers = self.read_headers()?;
        let mut log = Vec::new();
        for (place, header) in headers.iter().enumerate() {
            log.push(self.read_segment(header, headers.get(place + 1))?);
        }
        Ok((headers, log))
    }

    fn read_headers(&self) -> Result<Vec<Header>, OpenError> {
        let mut headers: Vec<Header> = Vec::new();
        let mut number = self.files.keys().filter_map(|name| names::segment_number(name)).max();
        while let Some(wanted) = number {
            let header = self.read_header(wanted)?;
            let oldest = headers.first().map_or(header.oldest, |newest| newest.oldest);
            // A segment follows the one whose number comes before all that it covers.
            number = header.covers_from.checked_sub(1).filter(|before| *before >= oldest);
            headers.push(header);
        }
        headers.reverse();
        Ok(headers)
    }

    fn read_header(&self, number: u64) -> Result<Header, OpenError> {
        let file = names::segment(number);
        let damaged = |fault| Err(OpenError::Damaged(Damage::new(&file, 0, fault)));
        let Some(found) = self.files.get(&file) else {
            return damaged(Fault::Missing);
        };
        let header: Header = self.read_sheet(&file)?;
        self.check_is_ours(header.owner, &file)?;
        if header.number != number || header.covers_from > number {
            return damaged(Fault::Header);
        }
        if header.bytes != *found {
            return damaged(Fault::Length { found: *found, made: header.bytes });
        }
        Ok(header)
    }

    fn read_segment(&self, header: &Header, follower: Option<&Header>) -> Result<Segment, OpenError> {
        let file = names::segment(header.number);
        let bytes = self.read(&file, usize::try_from(header.bytes).unwrap_or(usize::MAX))?;
        let chain = Chain::read(&bytes, RECORDS_AT, header.first, header.seed());
        let end = chain.end as u64;
        let lost = |proof| {
            let fault = Fault::Record { sequence: chain.next, proof };
            Err(OpenError::Damaged(Damage::new(&file, end, fault)))
        };
        let mut torn = None;
        if let Some(follower) = follower {
            if chain.next != follower.first {
                return lost(Proof::NextSegment);
            }
        } else {
            let beyond = chain.beyond(&bytes, header.seed());
            if !DAMAGE_IS_TORN.is_on() {
                if chain.next <= header.settled {
                    return lost(Proof::Header);
                }
                if let Some(at) = beyond.proof {
                    return lost(Proof::Later(at));
                }
            }
            self.check_is_last(&bytes, header.number)?;
            torn = (beyond.begun || beyond.behind > 0).then(|| Torn {
                file: file.clone(),
                offset: end,
                sequence: chain.next,
                behind: beyond.behind,
            });
        }
        let records = chain.records.into_iter().map(|(head, at)| (head, bytes[at].to_vec())).collect();
        Ok(Segment { records, end, next: chain.next, torn })
    }

    fn check_is_last(&self, bytes: &[u8], number: u64) -> Result<(), OpenError> {
        let seal = bytes.get(SEAL_AT..).unwrap_or_default();
        let sealed = sheet::decode::<Seal>(seal).is_ok_and(|seal| seal.number == number);
        if !sealed || MISSES_NO_SEGMENT.is_on() {
            return Ok(());
        }
        let file = names::segment(number + 1);
        Err(OpenError::Damaged(Damage::new(&file, 0, Fault::Missing)))
    }

    /// Those that are whole, newest first, and what is wrong with the others.
    fn find_checkpoints(&self) -> Result<(Vec<FoundCheckpoint>, Vec<Damage>), OpenError> {
        let (mut whole, mut skipped) = (Vec::new(), Vec::new());
        let slots: Vec<u64> = self.files.keys().filter_map(|name| names::checkpoint_slot(name)).collect();
        for slot in slots.into_iter().rev() {
            match checkpoint::find(&self.disk, &self.config, self.owner, slot)? {
                Ok(found) => whole.push(found),
                Err(damage) => skipped.push(damage),
            }
        }
        whole.sort_by_key(|found| std::cmp::Reverse(found.slot));
        Ok((whole, skipped))
    }

    /// Begins a log.
    fn begin(mut self) -> Result<(Store<D>, Found), OpenError> {
        let header = Header {
            owner: self.owner,
            number: 1,
            covers_from: 1,
            oldest: 1,
            first: 1,
            settled: 0,
            pruned: 0,
            salt: self.config.salt,
            bytes: 0,
        };
        self.remove_temporary()?;
        let header = segment::make(&mut self.disk, &self.config, &header, &[])?;
        self.write_owner()?;
        let Opening { disk, config, owner, .. } = self;
        let recovered = Recovered {
            disk,
            config,
            owner,
            full: Vec::new(),
            current: Current::new(&header, RECORDS_AT as u64, 0),
            next: 1,
            pruned: 0,
            checkpoints: Vec::new(),
        };
        let found = Found {
            fresh: true,
            checkpoints: Vec::new(),
            skipped: Vec::new(),
            records: Vec::new(),
            pruned: 0,
            torn: None,
        };
        Ok((recovered.into(), found))
    }

    /// Writes the last segment anew.
    fn renew(&mut self, newest: &Header, last: &Segment) -> Result<Current, StoreError> {
        if GOES_ON_BEHIND_THE_CUT.is_on() {
            return Ok(Current::new(newest, last.end, last.slot_max()));
        }
        let number = newest.number + 1;
        let salt = self.config.salt;
        let header = Header { number, settled: last.next - 1, salt, ..newest.clone() };
        let mut records = Vec::new();
        for (head, record) in &last.records {
            record::encode(&mut records, header.seed(), *head, record);
        }
        let header = segment::make(&mut self.disk, &self.config, &header, &records)?;
        Ok(Current::new(&header, (RECORDS_AT + records.len()) as u64, last.slot_max()))
    }

    /// Removes what is not part of the log any more, and completes what a crash has left open.
    fn clean_up(&mut self, owned: bool, headers: &[Header], renewed: u64) -> Result<(), StoreError> {
        if !owned {
            self.write_owner()?;
        }
        if let [.., before, _] = headers {
            segment::seal(&mut self.disk, before.number)?;
        }
        let ours = |number: &u64| headers.iter().any(|header| header.number == *number);
        let all = self.files.keys().filter_map(|name| names::segment_number(name));
        let old: Vec<u64> = all
            .filter(|number| !ours(number) || (*number == renewed && !GOES_ON_BEHIND_THE_CUT.is_on()))
            .collect();
        segment::recycle(&mut self.disk, &self.config, &old)
    }

    fn remove_temporary(&mut self) -> Result<(), StoreError> {
        for name in self.files.keys().filter(|name| name.starts_with(names::TEMPORARY)) {
            segment::remove(&mut self.disk, name)?;
        }
        // Spares of another length can never be used.
        let unfit =
            |(name, bytes): &(&String, &u64)| names::is_spare(name) && **bytes != self.config.segment_bytes;
        for (name, _) in self.files.iter().filter(unfit) {
            segment::remove(&mut self.disk, name)?;
        }
        Ok(())
    }

    fn write_owner(&mut self) -> Result<(), StoreError> {
        let made = names::temporary(names::OWNER);
        let bytes = sheet::encode(&Owner { owner: self.owner });
        self.disk.create(&made, 0).map_err(|e| StoreError::io(&made, "making", e))?;
        self.disk.write(&made, 0, &bytes).map_err(|e| StoreError::io(&made, "writing", e))?;
        segment::publish(&mut self.disk, &made, names::OWNER)
    }
}
