//! What every engine that votes stands on: where it is, what waits, whom it suspects, and how it catches up. An engine
//! adds how slots are proposed and decided, and what a replica tells when it leaves a view.

mod outline;

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

pub use self::outline::BasisOutline;
use crate::batch::{Batch, Entry};
use crate::catch_up::CatchUp;
use crate::checkpoint::CheckpointCertificate;
use crate::config::Config;
use crate::decision::{Decides, Decision};
use crate::group::Seat;
use crate::known_bugs;
use crate::ledger::Ledger;
use crate::patience::{Patience, Standing};
use crate::pool::{Added, Pool, parcels};
use crate::protocol::{Effect, Effects, Observation, Status, Timer};
use crate::record::{Cease, Record, Unfit};
use crate::suspicion::{Backoff, Suspect, Suspicion};
use crate::upkeep::{FORWARD_ENTRIES_MAX, Upkeep};

/// One replica's part that is the same in every engine; open slots have state `P`, decisions certificates `C`.
#[derive(Clone, Debug)]
pub struct Basis<P, C> {
    /// Whose part it is.
    pub seat: Seat,
    /// Limits.
    pub config: Config,
    /// The view it is in, or on the way to if it is not `installed`.
    pub view: View,
    /// Whether that view has begun.
    pub installed: bool,
    /// What is decided, and what is open.
    pub ledger: Ledger<P, C>,
    /// What waits.
    pub pool: Pool,
    /// Who wants another view.
    pub suspicion: Suspicion,
    /// How much longer to wait after views that failed.
    pub backoff: Backoff,
    /// Whom to ask for what was missed.
    pub catch_up: CatchUp,
    /// How long to wait.
    pub patience: Patience,
    decided_at_tick: Slot,
}

/// What is known of an open slot.
pub trait Place<C>: Default {
    /// What is decided there, with its proof, while an earlier slot is not.
    fn decision(&self) -> Option<&(C, Batch)>;

    /// It is decided.
    fn decide(&mut self, certificate: C, batch: Batch);

    /// The batch with this digest, if it is known here.
    fn body(&self, digest: &Digest) -> Option<Batch>;

    /// Whether this replica voted for the batch with this digest, and so wrote it down.
    fn voted_for(&self, digest: &Digest) -> bool;
}

impl<P: Place<C>, C: Decides> Basis<P, C> {
    /// A replica that has decided nothing.
    #[must_use]
    pub fn new(seat: Seat, config: Config) -> Basis<P, C> {
        Basis {
            view: View(0),
            installed: true,
            ledger: Ledger::new(&config),
            pool: Pool::new(&config, seat.group.size()),
            suspicion: Suspicion::default(),
            backoff: Backoff::default(),
            catch_up: CatchUp::default(),
            patience: Patience::default(),
            decided_at_tick: Slot(0),
            seat,
            config,
        }
    }

    /// The last slot of the decided prefix.
    #[must_use]
    pub fn decided(&self) -> Slot {
        self.ledger.decided()
    }

    /// An entry from a client of this replica, or its own. True if it waits now.
    pub fn offer<M>(&mut self, entry: Entry, effects: &mut Effects<M>) -> bool {
        let digest = entry.digest();
        let added = self.pool.add(entry);
        effects.push(Effect::Offered { entry: digest, added });
        added == Added::New
    }

    /// Moves the decided prefix over the next slot, if that is decided and execution keeps up.
    pub fn advance<M>(&mut self, effects: &mut Effects<M>) -> Option<(Slot, Batch)> {
        if !self.ledger.has_room() {
            return None;
        }
        let head = self.ledger.window.get(self.decided().next())?;
        let (certificate, batch) = head.decision().cloned()?;
        let kept = self.seat.group.is_bound_by_disk() && head.voted_for(&certificate.digest());
        let slot = certificate.slot();
        let record =
            Record::Decided { slot, proof: certificate.into(), batch: (!kept).then(|| batch.clone()) };
        effects.push(Effect::Persist(record));
        batch.entries().iter().for_each(|entry| self.pool.remove(entry));
        self.backoff.decided(self.config.window_slots);
        self.pass_head()
    }

    /// Moves the decided prefix over the next slot, if that is decided.
    fn pass_head(&mut self) -> Option<(Slot, Batch)> {
        let head = self.ledger.window.get(self.decided().next());
        let (certificate, batch) = head.and_then(|place| place.decision()).cloned()?;
        Some((self.ledger.push(batch.clone(), certificate), batch))
    }

    /// A certified state was installed in place of decisions that were missed. True if the prefix moved. What was proposed in
    /// the slots passed over may have been decided there or not: it waits again, and sessions know what was executed.
    pub fn on_installed(&mut self, certificate: CheckpointCertificate) -> bool {
        let moved = self.ledger.install(certificate);
        if moved {
            self.pool.restart();
        }
        moved
    }

    /// Where it stands; `primary` is who proposes in its view.
    #[must_use]
    pub fn status(&self, primary: ReplicaId) -> Status {
        Status {
            view: self.view,
            installed: self.installed,
            primary,
            decided: self.decided(),
            highest: self.catch_up.highest(self.seat.group.one_correct()).max(self.decided()),
            log_base: self.ledger.log.base(),
            stable: self.ledger.checkpoints().0,
            waiting: self.pool.len(),
            ceased: self.ledger.ceased(),
        }
    }
}

/// The end of a generation whose trusted cores are gone.
impl<P: Place<C>, C: Decides> Basis<P, C> {
    /// From here on it follows, and decides so far and no further.
    pub fn cease<M>(&mut self, cease: Cease, effects: &mut Effects<M>) {
        let before = self.ledger.ceased();
        self.ledger.cease(cease);
        if let Some(ceased) = self.ledger.ceased().filter(|ceased| before != Some(*ceased)) {
            effects.push(Effect::Persist(Record::Ceased(ceased)));
        }
    }
}

/// Going on after a crash.
impl<P: Place<C>, C: Decides> Basis<P, C> {
    /// Begins after this checkpoint.
    pub fn resume(&mut self, checkpoint: Option<CheckpointCertificate>) {
        if let Some(certificate) = checkpoint {
            self.ledger.install(certificate);
        }
    }

    /// Others wished for this view, or a later one.
    pub fn resume_wishes(&mut self, wishes: Vec<Suspect>) {
        wishes.into_iter().for_each(|wish| self.suspicion.add(wish));
    }

    /// It was on the way to `view`, or in it.
    pub fn resume_view(&mut self, view: View, installed: bool) {
        (self.view, self.installed) = (view, installed);
    }

    /// Whether `view`, or a later one, has begun for it, or it left it.
    #[must_use]
    pub fn has_begun(&self, view: View) -> bool {
        view < self.view || (view == self.view && self.installed)
    }

    /// It knew what was decided in the slot of `certificate`; tells what is decided by that.
    ///
    /// # Errors
    /// What was decided stands nowhere.
    pub fn resume_decided<M>(
        &mut self,
        certificate: C,
        batch: Option<Batch>,
        effects: &mut Effects<M>,
    ) -> Result<(), Unfit> {
        let (slot, digest) = (certificate.slot(), certificate.digest());
        let Some(place) = self.ledger.window.entry(slot) else {
            return if slot <= self.decided() { Ok(()) } else { Err(Unfit("a decision is missing")) };
        };
        let nil = || Some(Batch::nil()).filter(|nil| nil.digest() == digest);
        let batch = batch.or_else(|| place.body(&digest)).or_else(nil);
        place.decide(certificate, batch.ok_or(Unfit("a decided batch is missing"))?);
        while let Some((slot, batch)) = self.pass_head() {
            effects.push(Effect::Decide { slot, batch });
        }
        Ok(())
    }
}

/// Patience and suspicion.
impl<P: Place<C>, C: Decides> Basis<P, C> {
    /// Keeps patience's timer running while something waits; `stands` says whether a slot has a proposal of this view.
    pub fn mind<M>(&mut self, stands: impl Fn(&P, View) -> bool, effects: &mut Effects<M>) {
        let standing = self.standing(stands);
        self.patience.mind(&self.pool, standing, &self.backoff, &self.config, effects);
    }

    /// One more period of patience has passed: shows everyone what waits for long; wants another view when that did not
    /// help either. Says for which view to leave.
    #[must_use]
    pub fn on_patience<M: From<Upkeep<C>>>(
        &mut self,
        stands: impl Fn(&P, View) -> bool,
        effects: &mut Effects<M>,
    ) -> Option<View> {
        let standing = self.standing(stands);
        let verdict = self.patience.ran_out(&mut self.pool, standing, &self.backoff, &self.config, effects);
        for entries in parcels(verdict.relay, FORWARD_ENTRIES_MAX) {
            effects.broadcast(Upkeep::Forward(entries).into());
        }
        let why = verdict.blame.filter(|_| self.installed)?;
        self.suspect(why, effects)
    }

    fn standing(&self, stands: impl Fn(&P, View) -> bool) -> Standing {
        let open = |place: &P| stands(place, self.view) || place.decision().is_some();
        let head_is_open = self.ledger.hurries() || self.ledger.window.iter().any(|(_, place)| open(place));
        Standing { decided: self.decided(), executed: self.ledger.executed(), head_is_open }
    }

    /// Wants another view, and says so to all. Says for which view to leave, if enough others want it too.
    #[must_use]
    pub fn suspect<M: From<Upkeep<C>>>(
        &mut self,
        why: &'static str,
        effects: &mut Effects<M>,
    ) -> Option<View> {
        let wants = self.view.next();
        if self.suspicion.wish_of(self.seat.me) >= wants {
            return None;
        }
        effects.report(Observation::Suspected { view: self.view, why });
        self.wish(wants, effects);
        self.follow_suspicion(effects)
    }

    /// The view that was left for has not begun in time. Says for which to leave instead.
    #[must_use]
    pub fn on_new_view_timeout<M: From<Upkeep<C>>>(&mut self, effects: &mut Effects<M>) -> Option<View> {
        if self.installed {
            return None;
        }
        effects.arm(Timer::NewView, self.backoff.scale_ms(self.config.new_view_ms));
        self.suspect("the next view does not begin", effects)
    }

    /// Wishes of replicas, each signed by its author. Says for which view to leave.
    #[must_use]
    pub fn on_suspects<M: From<Upkeep<C>>>(
        &mut self,
        suspects: Vec<Suspect>,
        effects: &mut Effects<M>,
    ) -> Option<View> {
        suspects.into_iter().for_each(|suspect| self.suspicion.add(suspect));
        self.follow_suspicion(effects)
    }

    /// Shows all on whose wishes it leaves, so that nobody stays behind alone.
    fn follow_suspicion<M: From<Upkeep<C>>>(&mut self, effects: &mut Effects<M>) -> Option<View> {
        let (to, wishes) = self.suspicion.target(self.view, &self.seat.group)?;
        effects.broadcast(Upkeep::Suspects(wishes).into());
        if self.suspicion.wish_of(self.seat.me) < to {
            self.wish(to, effects);
        }
        Some(to)
    }

    fn wish<M: From<Upkeep<C>>>(&mut self, wants: View, effects: &mut Effects<M>) {
        let suspect = Suspect::sign(&self.seat, wants);
        self.suspicion.add(suspect);
        effects.broadcast(Upkeep::Suspects(vec![suspect]).into());
    }

    /// Leaves for a later view.
    pub fn leave<M>(&mut self, to: View, effects: &mut Effects<M>) {
        assert!(to > self.view, "leaving view {} for {to}, which is not later", self.view);
        self.view = to;
        self.installed = false;
        self.backoff.failed();
        self.note_entered(effects);
        effects.report(Observation::LeftFor(to));
        effects.arm(Timer::NewView, self.backoff.scale_ms(self.config.new_view_ms));
    }

    /// `view` begins.
    pub fn install<M>(&mut self, view: View, effects: &mut Effects<M>) {
        let is_later = view > self.view;
        self.view = view;
        self.installed = true;
        if is_later {
            self.note_entered(effects);
        }
        self.pool.restart();
        effects.push(Effect::Disarm(Timer::NewView));
        self.patience.stop(effects);
    }

    fn note_entered<M>(&self, effects: &mut Effects<M>) {
        if self.seat.group.is_bound_by_disk() {
            effects.push(Effect::Persist(self.entered()));
        }
    }

    /// Which view it is in, or on the way to, and on whose wishes.
    #[must_use]
    pub fn entered(&self) -> Record {
        let left = View(self.view.0.saturating_sub(1));
        let wishes = self.suspicion.target(left, &self.seat.group).map_or(Vec::new(), |(_, wishes)| wishes);
        Record::Entered { view: self.view, wishes }
    }

    /// Tells `primary` all that waits.
    pub fn forward_all<M: From<Upkeep<C>>>(&self, primary: ReplicaId, effects: &mut Effects<M>) {
        for entries in parcels(self.pool.all(), FORWARD_ENTRIES_MAX) {
            effects.send(primary, Upkeep::Forward(entries).into());
        }
    }
}

/// Catching up.
impl<P: Place<C>, C: Decides> Basis<P, C> {
    /// One status period has passed: tells the others where it stands, and asks for what it lacks. True if nothing was
    /// decided since the last time.
    pub fn on_status_timer<M: From<Upkeep<C>>>(&mut self, effects: &mut Effects<M>) -> bool {
        effects.arm(Timer::Status, self.config.status_ms);
        let (view, installed, decided) = (self.view, self.installed, self.decided());
        effects.broadcast(Upkeep::Status { view, installed, decided }.into());
        let wishes = self.suspicion.to_show(&self.seat, view, installed);
        if !wishes.is_empty() {
            effects.broadcast(Upkeep::Suspects(wishes).into());
        }
        let next = self.ledger.window.get(decided.next());
        let is_busy = next.is_some_and(|place| place.decision().is_some());
        let peer = self.catch_up.tick(decided, self.seat.group.one_correct(), is_busy);
        if let Some(peer) = peer.filter(|_| !known_bugs::ASKS_FOR_NO_DECISIONS.is_on()) {
            effects.send(peer, Upkeep::Fetch { after: decided }.into());
        }
        let stalled = decided == self.decided_at_tick;
        self.decided_at_tick = decided;
        stalled
    }

    /// Whether a replica that says of itself that it is there has missed how our view began.
    #[must_use]
    pub fn has_missed(&self, view: View, installed: bool) -> bool {
        self.installed && (view < self.view || (view == self.view && !installed))
    }

    /// `from` lacks decisions after `after`.
    pub fn on_fetch<M: From<Upkeep<C>>>(&self, from: ReplicaId, after: Slot, effects: &mut Effects<M>) {
        if known_bugs::ANSWERS_NO_LAGGARD.is_on() {
            return;
        }
        if let Some(stable) = self.ledger.stable().filter(|_| after < self.ledger.log.base()) {
            effects.send(from, Upkeep::Pruned(stable.clone()).into());
            return;
        }
        let decisions = self.ledger.decisions_after(after, self.config.fetch_bytes_max as usize);
        if !decisions.is_empty() {
            effects.send(from, Upkeep::Decided(decisions).into());
        }
    }

    /// `from` sent a decision, which proves itself.
    pub fn learn(&mut self, from: ReplicaId, decision: Decision<C>) {
        let Decision { batch, certificate } = decision;
        let slot = certificate.slot();
        let place = self.ledger.window.entry(slot).filter(|place| place.decision().is_none());
        if let Some(place) = place {
            place.decide(certificate, batch);
            self.catch_up.learned(from, slot);
        }
    }

    /// Asks whoever helped for more, once there is room.
    pub fn fetch_on<M: From<Upkeep<C>>>(&mut self, effects: &mut Effects<M>) {
        let decided = self.decided();
        if let Some(peer) = self.catch_up.go_on(decided) {
            effects.send(peer, Upkeep::Fetch { after: decided }.into());
        }
    }

    /// `from` does not keep what it was asked for. That there is a state in its place proves itself, so one answer is
    /// enough, and no liar can send us after what is not there.
    pub fn on_pruned<M>(
        &mut self,
        from: ReplicaId,
        certificate: &CheckpointCertificate,
        effects: &mut Effects<M>,
    ) {
        let base = certificate.checkpoint.slot;
        if self.catch_up.asked(from) && base > self.decided() {
            effects.push(Effect::NeedState { base });
        }
    }
}
