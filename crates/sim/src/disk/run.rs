//! A seeded run of a store on a disk that stops, loses, tears, fails, fills up and is damaged.
//!
//! ```text
//!   open -> append, sync, prune, keep ... -> the machine stops, or the process, or all ends well -> open -> ...
//!             |                                                |
//!             one call of the disk may be the last             now and then something is damaged first
//! ```
//!
//! What must hold is [`Failure`]'s list of what can be wrong.

use smr_crypto::merkle;
use smr_store::{
    CheckpointWriter, ChunkName, Disk as _, Fault, Found, OpenError, Store, StoreConfig, StoreError,
    make_spare,
};

use super::SimDisk;
use super::expected::{Allowed, CHECKPOINTS_KEPT, CHUNK_FILES_MAX, Expected};
use crate::rng::Rng;

/// Times that a store is opened in a run, at most.
const LIVES_MAX: u64 = 8;

/// What is done in a life, at most.
const DEEDS_MAX: u64 = 40;

/// Calls after which the machine stops in a life, if it does, at most.
const CALLS_MAX: u64 = 150;

/// Chunks of a state, at most.
const CHUNKS_MAX: u32 = 24;

/// Of the digest, which only has to differ: FNV-1a.
const PRIME: u64 = 0x0100_0000_01b3;

/// What has happened in runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Calls that changed the disk.
    pub calls: u64,
    /// Records that were called durable.
    pub durable: u64,
    /// Times that the machine stopped.
    pub crashes: u64,
    /// Tails that were cut.
    pub torn: u64,
    /// Damage that was done.
    pub damages: u64,
    /// Of those, the ones that were told.
    pub told: u64,
    /// Of those, the ones that cost a checkpoint while another one was there.
    pub skipped: u64,
    /// Of those, the ones that took a group that nothing could prove.
    pub unprovable: u64,
    /// Checkpoints that were kept.
    pub kept: u64,
    /// Of those, the ones of which a part was on the disk already.
    pub built_on: u64,
    /// Errors of the disk that reached whoever stores.
    pub errors: u64,
    /// Digest of everything found.
    pub digest: u64,
}

impl Summary {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Summary) -> Summary {
        Summary {
            calls: self.calls + other.calls,
            durable: self.durable + other.durable,
            crashes: self.crashes + other.crashes,
            torn: self.torn + other.torn,
            damages: self.damages + other.damages,
            told: self.told + other.told,
            skipped: self.skipped + other.skipped,
            unprovable: self.unprovable + other.unprovable,
            kept: self.kept + other.kept,
            built_on: self.built_on + other.built_on,
            errors: self.errors + other.errors,
            digest: self.digest.rotate_left(1) ^ other.digest,
        }
    }
}

/// What must not be, with the seed that repeats it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("seed {seed:#x}: {what}")]
pub struct Failure {
    /// Which run.
    pub seed: u64,
    /// What is wrong: something durable is missing, or comes again in another order; something is found that was never
    /// appended; damage is not told, or told where there is none; something that is damaged was changed.
    pub what: String,
}

/// Runs what `seed` stands for.
///
/// # Errors
/// What must not be.
pub fn run(seed: u64) -> Result<Summary, Failure> {
    let mut run = Run::new(seed);
    run.lives().map_err(|what| Failure { seed, what })?;
    Ok(run.summary())
}

/// Runs the first life of `seed`, and then the second one again and again, in which every call of the disk is the last one
/// in turn, each with `endings` different crashes, or fails once.
///
/// # Errors
/// What must not be.
pub fn run_to_every_call(seed: u64, endings: u64) -> Result<Summary, Failure> {
    let mut begun = Run::new(seed);
    begun.live(None).map_err(|what| Failure { seed, what })?;
    begun.calls_before = begun.disk.calls();
    begun.summary = Summary::default();
    let image = begun.disk.image();
    let mut all = Summary::default();
    let every = (0..).flat_map(|calls| (0..endings).map(move |ending| (calls, ending)));
    for (calls, ending) in every {
        begun.disk.put_back(&image);
        let mut run = begun.clone();
        run.crashes_by = Rng::new(ending);
        run.live(Some(calls)).and_then(|_| run.look()).map_err(|what| Failure { seed, what })?;
        all = all.and(run.summary());
        if !run.stopped {
            break;
        }
        if ending == 0 {
            begun.disk.put_back(&image);
            let mut run = begun.clone();
            run.live_with_an_error(calls).map_err(|what| Failure { seed, what })?;
            all = all.and(run.summary());
        }
    }
    Ok(all)
}

#[derive(Clone)]
struct Run {
    rng: Rng,
    crashes_by: Rng,
    disk: SimDisk,
    calls_before: u64,
    config: StoreConfig,
    owner: [u8; 32],
    expected: Expected,
    /// Where the replica is.
    slot: u64,
    /// Up to where it may prune.
    prune_to: Option<u64>,
    /// No two records are alike.
    written: u64,
    /// How often a state is kept where a record would be appended, of 1000 times.
    keeps: u64,
    /// What is kept next: what it was, changed in part.
    state: Vec<Vec<u8>>,
    /// Of a size, so that old records lie where new ones are looked for.
    record_bytes: u64,
    /// The disk was told to fail.
    fails: bool,
    /// The machine stopped at the call that was drawn.
    stopped: bool,
    summary: Summary,
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// In order.
    Closed,
    /// The process is killed.
    Process,
    /// The machine stops.
    Machine,
}

/// Why a life does not go on.
enum Wrong {
    /// The disk fails, as it was told to.
    Disk,
    /// What must not be.
    Found(String),
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng::new(seed);
        let config = StoreConfig {
            segment_bytes: 8 << 10,
            record_bytes_max: 1500,
            buffer_bytes_max: *rng.pick(&[1, 300, 4096]),
            segments_max: 16,
            spares_max: *rng.pick(&[0, 1, 2]),
            checkpoints_kept: CHECKPOINTS_KEPT,
            chunk_bytes_max: 1500,
            chunks_max: CHUNKS_MAX,
            chunk_file_bytes: *rng.pick(&[1, 1000, 5000]),
            chunk_files_max: CHUNK_FILES_MAX,
            salt: 0,
        };
        let (crashes_by, owner, record_bytes) = (rng.fork(), rng.bytes32(), rng.within(8, 700));
        let keeps = *rng.pick(&[0, 0, 700]);
        Run {
            rng,
            crashes_by,
            disk: SimDisk::new(),
            calls_before: 0,
            config,
            owner,
            expected: Expected::default(),
            slot: 1,
            prune_to: None,
            written: 0,
            keeps,
            state: Vec::new(),
            record_bytes,
            fails: false,
            stopped: false,
            summary: Summary::default(),
        }
    }

    fn summary(&self) -> Summary {
        Summary { calls: self.disk.calls() - self.calls_before, ..self.summary }
    }

    fn lives(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.within(2, LIVES_MAX) {
            let calls = self.rng.chance(500).then(|| self.rng.within(0, CALLS_MAX));
            let end = self.live(calls)?;
            if self.rng.chance(600) {
                // What lies in the system's memory alone cannot be damaged on the disk.
                self.crash();
                self.damage(end)?;
            }
        }
        self.look()
    }

    /// What is there, on a disk that does what it is asked.
    fn look(&mut self) -> Result<(), String> {
        match self.open() {
            Ok(_) => Ok(()),
            Err(Wrong::Found(what)) => Err(what),
            Err(Wrong::Disk) if self.fails => Ok(()),
            Err(Wrong::Disk) => Err("the disk fails without a reason".to_string()),
        }
    }

    /// Opens, works and ends, if the machine does not stop before, after `calls`.
    fn live(&mut self, calls: Option<u64>) -> Result<End, String> {
        if let Some(calls) = calls {
            self.disk.stop_after(calls);
        }
        let end = match self.work() {
            Ok(end) => end,
            Err(Wrong::Found(what)) => return Err(what),
            Err(Wrong::Disk) => {
                self.summary.errors += 1;
                End::Process
            }
        };
        self.disk.make_room();
        self.disk.keep_running();
        self.stopped = self.disk.has_stopped();
        if self.stopped || end == End::Machine {
            self.crash();
        }
        Ok(end)
    }

    /// The call after `calls` fails, once. Then whoever stores starts again, and so does the machine.
    fn live_with_an_error(&mut self, calls: u64) -> Result<(), String> {
        self.fails = true;
        self.disk.fail_after(calls);
        self.live(None)?;
        self.look()?;
        self.crash();
        self.look()
    }

    fn crash(&mut self) {
        self.disk.crash(&mut self.crashes_by);
        self.fails = false;
        self.summary.crashes += 1;
    }

    fn work(&mut self) -> Result<End, Wrong> {
        let mut store = self.open()?;
        let mut checkpoints = store.checkpoint_writer(self.disk.clone());
        for _ in 0..self.rng.within(0, DEEDS_MAX) {
            match self.rng.within(0, 999) {
                0..450 if self.rng.chance(self.keeps) => self.keep(&mut checkpoints)?,
                0..450 => self.append(&mut store)?,
                450..650 => self.sync(&mut store)?,
                650..760 => self.keep(&mut checkpoints)?,
                760..870 => self.prune(&mut store)?,
                870..920 => {
                    let made = make_spare(&mut self.disk.clone(), &self.config);
                    self.judge(made)?;
                }
                920..935 => {
                    self.fails = true;
                    self.disk.fail_a_sync();
                }
                935..950 => {
                    self.fails = true;
                    self.disk.fill_up();
                }
                950..960 => return Ok(End::Process),
                960..980 => return Ok(End::Machine),
                _ => self.slot += 1,
            }
        }
        if self.rng.chance(400) {
            return Ok(End::Process);
        }
        let closed = store.close();
        self.judge(closed)?.ok_or(Wrong::Disk)?;
        self.expected.closed();
        Ok(End::Closed)
    }

    fn open(&mut self) -> Result<Store<SimDisk>, Wrong> {
        self.config.salt = self.rng.draw();
        match Store::open(self.disk.clone(), self.config.clone(), &self.owner) {
            Ok((store, found)) => {
                self.expected.check(&found, &self.disk, Allowed::Nothing).map_err(Wrong::Found)?;
                if let Some(damage) = found.skipped.first() {
                    return Err(Wrong::Found(format!("skipped what nothing had damaged: {damage}")));
                }
                self.summary.torn += u64::from(found.torn.is_some());
                self.digest(&found);
                Ok(store)
            }
            Err(OpenError::Store(error)) => self.judge(Err(error))?.ok_or(Wrong::Disk),
            Err(error) => Err(Wrong::Found(error.to_string())),
        }
    }

    /// Nothing where the disk failed, as it was told to, and is still there.
    fn judge<T>(&mut self, result: Result<T, StoreError>) -> Result<Option<T>, Wrong> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(_) if self.disk.has_stopped() => Err(Wrong::Disk),
            Err(_) if self.fails => {
                self.summary.errors += 1;
                Ok(None)
            }
            Err(error) => Err(Wrong::Found(format!("without a reason: {error}"))),
        }
    }

    fn append(&mut self, store: &mut Store<SimDisk>) -> Result<(), Wrong> {
        let bytes = self.record();
        let slot = self.slot + self.rng.within(0, 3);
        self.expected.appended(slot, bytes.clone());
        match store.append(slot, &bytes) {
            Err(StoreError::LogTooLong { .. }) => {
                self.expected.refused();
                Ok(())
            }
            appended => self.judge(appended)?.map(|_| ()).ok_or(Wrong::Disk),
        }
    }

    fn sync(&mut self, store: &mut Store<SimDisk>) -> Result<(), Wrong> {
        let mut synced = store.sync();
        let failed = synced.is_err() && !self.disk.has_stopped();
        if failed {
            // Whoever asks again must not be told otherwise.
            synced = store.sync();
        }
        self.judge(synced)?.ok_or(Wrong::Disk)?;
        self.summary.durable += self.expected.synced();
        Ok(())
    }

    fn keep(&mut self, checkpoints: &mut CheckpointWriter<SimDisk>) -> Result<(), Wrong> {
        self.slot += 1;
        let header = self.record();
        self.change_state();
        self.expected.keeps(self.slot, &header, &self.state);
        let kept = checkpoints.keep(self.slot, &header, &named(&self.state));
        // The log goes on where a checkpoint could not be kept.
        if let Some(kept) = self.judge(kept)? {
            self.expected.kept(kept.slot);
            self.prune_to = kept.prune_to.or(self.prune_to);
            self.summary.kept += 1;
            let given = self.state.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
            self.summary.built_on += u64::from(kept.written_bytes < given);
            if let Some(damage) = kept.mended {
                return Err(Wrong::Found(format!("mended what nothing had damaged: {damage}")));
            }
            // One that was said to have failed may be there nevertheless.
            if !self.fails {
                let files = self.disk.list().map_err(|_| Wrong::Disk)?;
                self.expected.check_room(&files).map_err(Wrong::Found)?;
            }
        }
        Ok(())
    }

    /// Some chunks change, come, go, move or are as they were long ago.
    fn change_state(&mut self) {
        let changes = if self.rng.chance(100) { 2 * u64::from(CHUNKS_MAX) } else { self.rng.within(0, 6) };
        for _ in 0..changes {
            let (chunk, chunks) = (self.chunk(), self.state.len());
            let at = usize::try_from(self.rng.within(0, chunks as u64)).expect("small");
            match self.rng.within(0, 9) {
                0..6 if at < chunks => self.state[at] = chunk,
                6 if at < chunks => drop(self.state.remove(at)),
                7 if at < chunks => self.state.swap(0, at),
                _ if chunks < CHUNKS_MAX as usize => self.state.insert(at, chunk),
                _ => {}
            }
        }
    }

    /// A new one, or one of a few that come again and again, an empty one among them.
    fn chunk(&mut self) -> Vec<u8> {
        if self.rng.chance(800) {
            return self.record();
        }
        let which = self.rng.within(0, 3);
        vec![which.to_le_bytes()[0]; usize::try_from(which * 100).expect("small")]
    }

    fn prune(&mut self, store: &mut Store<SimDisk>) -> Result<(), Wrong> {
        let Some(slot) = self.prune_to else { return Ok(()) };
        let head: Vec<Vec<u8>> = (0..self.rng.within(0, 3)).map(|_| self.record()).collect();
        self.expected.prunes(slot, &head);
        let pruned = store.prune(slot, &head);
        self.judge(pruned)?.ok_or(Wrong::Disk)?;
        self.expected.pruned();
        Ok(())
    }

    fn record(&mut self) -> Vec<u8> {
        self.written += 1;
        let bytes = if self.rng.chance(800) { self.record_bytes } else { self.rng.within(8, 1500) };
        let mut record = self.written.to_le_bytes().to_vec();
        record.extend((8..bytes).map(|at| (at + self.written).to_le_bytes()[0]));
        record
    }

    /// Damages what is durable, sees what is said about it, and puts it back as it was.
    fn damage(&mut self, end: End) -> Result<(), String> {
        let image = self.disk.image();
        let mut expected = self.expected.clone();
        let mut allowed = Allowed::Nothing;
        let files = self.disk.durable_files();
        if files.is_empty() {
            return Ok(());
        }
        let file = self.rng.pick(&files).clone();
        let done = match self.rng.within(0, 9) {
            0 | 1 => {
                self.disk.lose(&file.name, None);
                expected.lost(&file.name);
                format!("without {}", file.name)
            }
            2 => {
                self.disk.make_unreadable(&file.name);
                format!("with {} that cannot be read", file.name)
            }
            3 if file.bytes > 0 => {
                let left = self.rng.within(0, file.bytes - 1);
                self.disk.lose(&file.name, Some(usize::try_from(left).expect("small")));
                format!("with {left} of {} bytes of {}", file.bytes, file.name)
            }
            _ => {
                if end != End::Closed {
                    allowed = Allowed::TheLastGroup;
                }
                format!("with {:?}", self.disk.flip(&mut self.rng))
            }
        };
        self.summary.damages += 1;
        let damaged = self.disk.image();
        self.config.salt = self.rng.draw();
        match Store::open(self.disk.clone(), self.config.clone(), &self.owner) {
            Ok((store, found)) => {
                self.summary.skipped += u64::from(!found.skipped.is_empty());
                let strict = expected.clone().check(&found, &self.disk, Allowed::Nothing);
                self.summary.unprovable += u64::from(strict.is_err());
                expected.check(&found, &self.disk, allowed).map_err(|what| format!("{done}: {what}"))?;
                if !found.skipped.is_empty() {
                    self.heal(&store, expected).map_err(|what| format!("{done}, and two kept: {what}"))?;
                }
            }
            Err(OpenError::Damaged(damage)) if !matches!(damage.fault, Fault::NoCheckpoint { .. }) => {
                self.summary.told += 1;
                if self.disk.image() != damaged {
                    return Err(format!("{done}: what was damaged was changed"));
                }
            }
            // Where the disk says itself that it cannot read.
            Err(OpenError::Store(StoreError::Io { doing: "reading", .. })) => self.summary.told += 1,
            Err(error) => return Err(format!("{done}: {error}")),
        }
        self.disk.put_back(&image);
        Ok(())
    }

    /// After as many states more as are kept, nothing is left of the damage.
    fn heal(&mut self, store: &Store<SimDisk>, mut expected: Expected) -> Result<(), String> {
        let mut checkpoints = store.checkpoint_writer(self.disk.clone());
        for after in 1..=CHECKPOINTS_KEPT as u64 {
            let (slot, header) = (self.slot + after, self.record());
            self.change_state();
            expected.keeps(slot, &header, &self.state);
            let kept = checkpoints.keep(slot, &header, &named(&self.state)).map_err(|e| e.to_string())?;
            expected.kept(kept.slot);
        }
        self.config.salt = self.rng.draw();
        let opened = Store::open(self.disk.clone(), self.config.clone(), &self.owner);
        let (_, found) = opened.map_err(|error| error.to_string())?;
        expected.check(&found, &self.disk, Allowed::Nothing)?;
        expected.check_room(&self.disk.list().expect("it runs"))?;
        match found.skipped.first() {
            Some(damage) => Err(format!("{damage} is still there")),
            None => Ok(()),
        }
    }

    fn digest(&mut self, found: &Found) {
        let bytes = found.records.iter().flatten();
        let of_records =
            bytes.fold(self.summary.digest, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(PRIME));
        self.summary.digest =
            found.checkpoints.iter().fold(of_records, |sum, found| (sum ^ found.slot).wrapping_mul(PRIME));
    }
}

/// Chunks with their digests as names.
fn named(state: &[Vec<u8>]) -> Vec<(ChunkName, &[u8])> {
    state.iter().map(|chunk| (merkle::leaf(chunk).0, chunk.as_slice())).collect()
}
