//! The trait that an author implements, and what a command may know of the world around it.
//!
//! An application is a state and the commands that change it. The same commands, in the same order, must lead every
//! replica to the same state and the same replies. So an application keeps its state in [`smr_uds::sync`] locks,
//! awaits nothing else, and takes time and chance from its [`Context`] only.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::Digest;
use smr_wire::{ClientId, Slot, Timestamp};

use crate::state::{Chunk, Cut, State};

/// A deterministic service.
pub trait Application: Send + Sync + 'static {
    /// One command; write `async fn execute(&self, ctx: &Context, command: &[u8]) -> Vec<u8>`. Many commands run at
    /// once; those that come later in the order get each lock later. A panic, or awaiting anything that is not of
    /// `smr_uds`, gives the client a fault instead of a reply; what was written until then stays.
    ///
    /// A command may wait on a [`smr_uds::Condvar`] as long as it has changed nothing and spawned nothing, and holds
    /// nothing but the condition's mutex. It is dropped then and begins from the top when it is notified, on every
    /// replica, and once after each checkpoint; so a command that waits is nothing but its bytes, and outlives
    /// restarts. [`Context::now`] is then the time of the slot in which it was woken.
    ///
    /// Commands are bytes, and bad ones are the application's to refuse, in its reply. Where people type them, see
    /// [`crate::text`].
    fn execute(&self, ctx: &Context, command: &[u8]) -> impl Future<Output = Vec<u8>> + Send;

    /// Where all of the state is, if it is kept in containers that checkpoint themselves; then there is no
    /// [`Application::snapshot`] and no [`Application::restore`] to write. See [`crate::state`].
    fn state(&self) -> Option<&State> {
        None
    }

    /// The whole state of an application that does not say [`Application::state`]. Equal states have equal bytes, on
    /// every machine. No command runs meanwhile, so [`smr_uds::Mutex::at_rest`] reaches the values.
    fn snapshot(&self) -> Vec<u8> {
        panic!("an application says where its state is, or writes and restores snapshots itself");
    }

    /// Replaces the whole state of an application that does not say [`Application::state`]. No command runs meanwhile.
    ///
    /// # Errors
    /// The bytes are no snapshot of this application. Nothing is executed then until a restore succeeds.
    fn restore(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        Err(RestoreError::new(format!("nobody reads its {} bytes", snapshot.len())))
    }

    /// Looks at what was restored to [`Application::state`], before anything is executed on it: for an application
    /// that keeps to limits, or computes something from its state. No command runs meanwhile.
    ///
    /// # Errors
    /// The state is none of this application. Nothing is executed then until a restore succeeds.
    fn restored(&self) -> Result<(), RestoreError> {
        Ok(())
    }

    /// The state at this place of the order, to be written while later commands run. No command runs meanwhile.
    fn cut(&self) -> Cut {
        self.state().map_or_else(|| Cut::of_snapshot(self.snapshot()), State::cut)
    }

    /// Replaces the whole state by that of a cut. No command runs meanwhile.
    ///
    /// # Errors
    /// These are no chunks of this application. Nothing is executed then until a restore succeeds.
    fn restore_chunks(&self, chunks: &[Chunk]) -> Result<(), RestoreError> {
        match self.state() {
            Some(state) => state.restore(chunks).and_then(|()| self.restored()),
            None => self.restore(&chunks.iter().map(Chunk::bytes).collect::<Vec<_>>().concat()),
        }
    }
}

/// Why bytes are not an application's state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the snapshot cannot be used: {0}")]
pub struct RestoreError(String);

impl RestoreError {
    /// For this reason, in words for an operator.
    pub fn new(reason: impl Into<String>) -> RestoreError {
        RestoreError(reason.into())
    }
}

/// What a command may know of the world and ask of it: the same on every replica.
pub struct Context {
    caller: ClientId,
    now: Timestamp,
    place: Place,
    /// Generators given out so far.
    rngs: AtomicU64,
    /// Commands begun or timed so far.
    children: AtomicU32,
    surroundings: Option<Arc<dyn Surroundings>>,
}

/// What a host does for the command that it made a context for.
pub(crate) trait Surroundings: Send + Sync {
    /// Begins a command now, at `place`.
    fn spawn(&self, place: Place, caller: ClientId, command: Vec<u8>) -> Asked<'_>;

    /// Begins a command once the agreed time has come to `due`.
    fn after(&self, due: Timestamp, place: Place, caller: ClientId, command: Vec<u8>) -> Asked<'_>;
}

/// What comes of asking.
pub(crate) type Asked<'a> = Pin<Box<dyn Future<Output = Result<(), Unavailable>> + Send + 'a>>;

/// Why another command was not begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unavailable {
    /// Too many wait for their time.
    #[error("too many commands wait for their time")]
    TooManyTimers,
    /// A command that was begun by a command, and so on, too often.
    #[error("a command that another one began may not begin a further one this deep")]
    TooDeep,
    /// The command has begun or timed as many as it may.
    #[error("a command may begin or time {CHILDREN_MAX} others at most")]
    TooManyChildren,
    /// The context was not made by a host.
    #[error("there is no host around this command to begin others")]
    NoHost,
}

/// Commands that one stands behind at most, each begun by the one before.
const DEPTH_MAX: usize = 8;

/// Commands that one may begin or time at most.
const CHILDREN_MAX: u32 = 64;

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("caller", &self.caller)
            .field("now", &self.now)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The context of the command of `caller` at `now` and `place`. The host makes contexts; others are for an
    /// author's tests.
    #[must_use]
    pub fn new(caller: ClientId, now: Timestamp, place: Place) -> Context {
        Context {
            caller,
            now,
            place,
            rngs: AtomicU64::new(0),
            children: AtomicU32::new(0),
            surroundings: None,
        }
    }

    pub(crate) fn hosted(
        caller: ClientId,
        now: Timestamp,
        place: Place,
        surroundings: Arc<dyn Surroundings>,
    ) -> Context {
        Context { surroundings: Some(surroundings), ..Context::new(caller, now, place) }
    }

    /// Begins another command of the same caller, behind this one in the order and beside it in time. Nobody gets
    /// its reply, and it cannot wait on a condition. Takes a turn, as a lock does.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing has begun then.
    pub async fn spawn(&self, command: Vec<u8>) -> Result<(), Unavailable> {
        let surroundings = self.surroundings.as_ref().ok_or(Unavailable::NoHost)?;
        if self.place.path.len() >= DEPTH_MAX {
            return Err(Unavailable::TooDeep);
        }
        surroundings.spawn(self.child()?, self.caller, command).await
    }

    /// Begins another command of the same caller once `delay_ms` milliseconds of agreed time have passed, early in
    /// some slot. Nobody gets its reply, and it cannot wait on a condition. Takes a lock, so the command can no
    /// longer wait on a condition either.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing will begin then.
    pub async fn after(&self, delay_ms: u64, command: Vec<u8>) -> Result<(), Unavailable> {
        let surroundings = self.surroundings.as_ref().ok_or(Unavailable::NoHost)?;
        surroundings.after(self.now.plus_ms(delay_ms), self.child()?, self.caller, command).await
    }

    /// A place that nothing else has.
    fn child(&self) -> Result<Place, Unavailable> {
        let number = self.children.fetch_add(1, Ordering::Relaxed);
        if number >= CHILDREN_MAX {
            return Err(Unavailable::TooManyChildren);
        }
        let mut place = self.place.clone();
        place.path.push(number);
        Ok(place)
    }

    /// Who sent the command, as its signature proves.
    #[must_use]
    pub fn caller(&self) -> ClientId {
        self.caller
    }

    /// The agreed time of the command's slot, in milliseconds since 1970. Never runs backwards from slot to slot,
    /// does not run within one, and is as right as the clocks of the replicas.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A generator of chance, another one at each call. Equal on every replica, hence known to whoever runs or sees
    /// one: good for jitter, sampling and ids, **not fit for secrets**, lotteries or anything an adversary must not
    /// foresee.
    #[must_use]
    pub fn rng(&self) -> Rng {
        let number = self.rngs.fetch_add(1, Ordering::Relaxed);
        let seed = Digest::of_value("SMRCLOUD-APP-RNG-V1", &(&self.place, number));
        Rng { seed, block: 0, left: Vec::new() }
    }
}

/// Where a command stands in the history of its service; no two commands share a place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// The slot.
    pub slot: Slot,
    /// The command's place in it, from 0.
    pub position: u32,
    /// For a command that another one began: which one of its, and so on.
    pub path: Vec<u32>,
    /// Digest of the history up to the slot.
    pub history: Digest,
}

/// SHA-256 in counter mode: block `i` is the tagged digest of the seed and `i`, easy to repeat in any language.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: Digest,
    block: u64,
    /// Bytes of the last block not given out, in reverse.
    left: Vec<u8>,
}

impl Rng {
    /// 64 bits, little endian from the stream.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number from 0 up to and excluding `bound`, each equally likely; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Draws from the incomplete last stretch would favour small numbers.
        let end = u64::MAX - u64::MAX % bound;
        loop {
            let drawn = self.next_u64();
            if drawn < end {
                return drawn % bound;
            }
        }
    }

    /// Fills `bytes` from the stream.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.left.is_empty() {
                let block =
                    Digest::of("SMRCLOUD-APP-RNG-BLOCK-V1", &[&self.seed.0, &self.block.to_le_bytes()]);
                self.block += 1;
                self.left.extend(block.0.iter().rev());
            }
            *byte = self.left.pop().expect("just refilled");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_crypto::PublicKey;

    fn context(seed: &[u8]) -> Context {
        let history = Digest::of("TEST", &[seed]);
        let place = Place { slot: Slot(1), position: 0, path: Vec::new(), history };
        Context::new(ClientId(PublicKey([0; 32])), Timestamp(7), place)
    }

    #[test]
    fn the_same_context_draws_the_same_numbers_and_another_one_others() {
        let draw = |seed: &[u8]| (0..20).map(|_| context(seed).rng().next_u64()).collect::<Vec<_>>();
        assert_eq!(draw(b"a"), draw(b"a"));
        assert_ne!(draw(b"a"), draw(b"b"));
    }

    #[test]
    fn each_generator_of_a_command_is_another_one() {
        let context = context(b"a");
        assert_ne!(context.rng().next_u64(), context.rng().next_u64());
    }

    #[test]
    fn numbers_below_a_bound_cover_it_and_stay_below() {
        let mut rng = context(b"a").rng();
        let mut seen = [0; 5];
        (0..500).for_each(|_| seen[usize::try_from(rng.below(5)).unwrap()] += 1);
        assert!(seen.iter().all(|count| (60..140).contains(count)), "{seen:?}");
        assert_eq!((rng.below(1), rng.below(0)), (0, 0));
        assert!((0..100).all(|_| rng.below(u64::MAX) < u64::MAX));
    }

    #[test]
    fn a_stream_does_not_depend_on_how_it_is_cut() {
        let (mut whole, mut parts) = ([0; 70], [0; 70]);
        context(b"a").rng().fill(&mut whole);
        let mut rng = context(b"a").rng();
        parts.chunks_mut(9).for_each(|part| rng.fill(part));
        assert_eq!(whole, parts);
    }
}
