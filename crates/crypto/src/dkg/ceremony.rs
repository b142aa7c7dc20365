//! The ceremony as all participants see it: a value that grows by the commands of an agreed order.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use super::complaint::{Complaint, Confirm};
use super::dealing::{BadDealing, Dealing};
use super::encryption::{DecryptionKey, Route};
use super::setup::{Assurance, BadSetup, Setup};
use crate::curve::{self, Point, Scalar};
use crate::threshold::{GroupKey, KeyShare, ServiceKey, SharePublicKey};

/// One ceremony. No secret is in it; it may be encoded, compared and sent. Equal wherever the same commands were
/// applied in the same order.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Ceremony {
    setup: Setup,
    stage: Stage,
    /// Valid, of dealers that are not excluded; at most one per participant.
    dealings: BTreeMap<u16, Dealing>,
    excluded: BTreeMap<u16, Reason>,
    /// Who confirmed, and how many of its complaints proved nothing.
    confirmed: BTreeMap<u16, u16>,
    /// Whose attested dealing was shown to have a bad share, and who showed it first.
    broken: BTreeMap<u16, u16>,
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
enum Stage {
    Dealing,
    Confirming,
    Closed(Outcome),
    Failed(Failure),
}

/// How far a ceremony is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Dealings are awaited.
    Dealing,
    /// The dealings are fixed; confirmations are awaited.
    Confirming,
    /// There is a key.
    Closed,
    /// There is no key and there will be none.
    Failed,
}

/// What a participant may say.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Command {
    /// Its contribution.
    Deal(Dealing),
    /// That it opened all contributions, and about which it complains. Where dealings are attested, only to complain, and
    /// once there is a key.
    Confirm(Confirm),
    /// That it wants to end the ceremony with what there is.
    Close,
}

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// A dealing counts; more are needed.
    Dealt,
    /// A dealing counts, and it was the last: it is time to confirm.
    DealingsComplete,
    /// A dealer said two different things and is out.
    Equivocated,
    /// A confirmation counts.
    Confirmed {
        /// Dealers that are out because of its complaints.
        excluded: Vec<u16>,
        /// How many of its complaints proved nothing.
        unproven: u16,
    },
    /// There is a key.
    Closed(Outcome),
    /// It was shown after the close that attested dealings had bad shares.
    Broken {
        /// Whose, as far as it was not known.
        dealers: Vec<u16>,
        /// How many of the complaints proved nothing.
        unproven: u16,
    },
    /// There will be none; to begin again takes another context.
    Failed(Failure),
}

/// What a closed ceremony leaves.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Outcome {
    /// The key.
    pub group: GroupKey,
    /// Whose dealings it is the sum of, ascending.
    pub qualified: Vec<u16>,
    /// Who is out, ascending, and why.
    pub excluded: Vec<(u16, Reason)>,
}

impl Ceremony {
    /// A ceremony by the rules of `setup`; one that has failed already if they do not pass [`Setup::validate`].
    #[must_use]
    pub fn new(setup: Setup) -> Ceremony {
        let stage = match setup.validate() {
            Ok(()) => Stage::Dealing,
            Err(bad) => Stage::Failed(Failure::Setup(bad)),
        };
        Ceremony {
            setup,
            stage,
            dealings: BTreeMap::new(),
            excluded: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            broken: BTreeMap::new(),
        }
    }

    /// Applies a command, in the agreed order, of the participant `from`, which the caller has authenticated.
    ///
    /// # Errors
    /// Why it is not acceptable here and now; then nothing has changed.
    pub fn apply(&mut self, from: u16, command: Command) -> Result<Progress, Refused> {
        if usize::from(from) >= self.setup.participants() {
            return Err(Refused::NoParticipant(from));
        }
        match (self.phase(), command) {
            (Phase::Closed, Command::Confirm(confirm)) if self.setup.assurance == Assurance::Attested => {
                self.accuse(from, &confirm)
            }
            (Phase::Closed | Phase::Failed, _) => Err(Refused::Over),
            (Phase::Dealing, Command::Deal(dealing)) => self.deal(from, dealing),
            (Phase::Confirming, Command::Deal(_)) => Err(Refused::Late),
            (Phase::Dealing, Command::Confirm(_) | Command::Close) => Err(Refused::Early),
            (Phase::Confirming, Command::Confirm(confirm)) => self.confirm(from, &confirm),
            (Phase::Confirming, Command::Close) => self.close(),
        }
    }

    fn deal(&mut self, dealer: u16, dealing: Dealing) -> Result<Progress, Refused> {
        if self.excluded.contains_key(&dealer) {
            return Err(Refused::Excluded);
        }
        if self.dealings.get(&dealer) == Some(&dealing) {
            return Err(Refused::Repeated);
        }
        // A second dealing counts against its dealer only if it is valid, which none from another ceremony is.
        dealing.check(&self.setup, dealer)?;
        if self.dealings.contains_key(&dealer) {
            return Ok(self.on_equivocation(dealer));
        }
        self.dealings.insert(dealer, dealing);
        if self.dealings.len() < usize::from(self.setup.dealings) {
            return Ok(Progress::Dealt);
        }
        match self.setup.assurance {
            Assurance::Confirmed(_) => {
                self.stage = Stage::Confirming;
                Ok(Progress::DealingsComplete)
            }
            Assurance::Attested => Ok(self.end()),
        }
    }

    /// Excludes a dealer, and fails once too few are left who could still deal.
    fn on_equivocation(&mut self, dealer: u16) -> Progress {
        self.exclude(dealer, Reason::Equivocated);
        let left = self.setup.participants() - self.excluded.len();
        if left < usize::from(self.setup.dealings) { self.fail(left) } else { Progress::Equivocated }
    }

    fn confirm(&mut self, accuser: u16, confirm: &Confirm) -> Result<Progress, Refused> {
        let Judged { proven: excluded, unproven } = self.judge(accuser, confirm)?;
        if !crate::known_bugs::KEEPS_A_BAD_DEALER.is_on() {
            excluded.iter().for_each(|dealer| self.exclude(*dealer, Reason::BadShare { accuser }));
        }
        self.confirmed.insert(accuser, unproven);
        Ok(Progress::Confirmed { excluded, unproven })
    }

    /// Takes up complaints about attested dealings, whose sum is in use.
    fn accuse(&mut self, accuser: u16, confirm: &Confirm) -> Result<Progress, Refused> {
        if confirm.complaints.is_empty() {
            return Err(Refused::Over);
        }
        let Judged { proven: dealers, unproven } = self.judge(accuser, confirm)?;
        self.broken.extend(dealers.iter().map(|dealer| (*dealer, accuser)));
        self.confirmed.insert(accuser, unproven);
        Ok(Progress::Broken { dealers, unproven })
    }

    fn judge(&self, accuser: u16, confirm: &Confirm) -> Result<Judged, Refused> {
        if self.confirmed.contains_key(&accuser) {
            return Err(Refused::Repeated);
        }
        if confirm.complaints.len() > self.setup.participants() {
            return Err(Refused::TooManyComplaints(confirm.complaints.len()));
        }
        let mut judged = Judged::default();
        for complaint in &confirm.complaints {
            // Of whom it is known already it need not be shown again, nor is it held against the accuser.
            let dealer = complaint.dealer;
            let known = self.excluded.contains_key(&dealer) || self.broken.contains_key(&dealer);
            if known || judged.proven.contains(&dealer) {
                continue;
            }
            let dealing = self.dealings.get(&dealer);
            if dealing.is_some_and(|dealing| complaint.is_proven(&self.setup, accuser, dealing)) {
                judged.proven.push(dealer);
            } else {
                judged.unproven += 1;
            }
        }
        Ok(judged)
    }

    fn close(&mut self) -> Result<Progress, Refused> {
        let (confirmations, needed) = (self.confirmed.len(), self.setup.confirmations());
        if confirmations < usize::from(needed) {
            return Err(Refused::Unconfirmed { confirmations, needed });
        }
        if self.dealings.len() < usize::from(self.setup.threshold) {
            return Ok(self.fail(self.dealings.len()));
        }
        Ok(self.end())
    }

    /// Ends it with the dealings that there are.
    fn end(&mut self) -> Progress {
        match self.outcome() {
            Some(outcome) => {
                self.stage = Stage::Closed(outcome.clone());
                Progress::Closed(outcome)
            }
            None => self.fail(0),
        }
    }

    fn exclude(&mut self, dealer: u16, reason: Reason) {
        self.dealings.remove(&dealer);
        self.excluded.insert(dealer, reason);
    }

    fn fail(&mut self, dealers: usize) -> Progress {
        let failure = Failure::TooFewDealers { dealers: u16::try_from(dealers).unwrap_or(u16::MAX) };
        self.stage = Stage::Failed(failure);
        Progress::Failed(failure)
    }

    /// The sum of the dealings. None if one is not what was checked when it came, which only a state that did not come
    /// from commands can have, or if the key is the identity, which nobody who proved its constant term can bring about.
    fn outcome(&self) -> Option<Outcome> {
        let mut sums = vec![Point::identity(); usize::from(self.setup.threshold)];
        for dealing in self.dealings.values() {
            let points = dealing.points().filter(|points| points.len() == sums.len())?;
            sums.iter_mut().zip(&points).for_each(|(sum, point)| *sum = sum.plus(point));
        }
        let constant = sums.first().filter(|sum| !sum.is_identity())?;
        let participants = 0..u16::try_from(self.setup.participants()).ok()?;
        let share_key = |participant| SharePublicKey(curve::public_share_of(&sums, participant).encode());
        Some(Outcome {
            group: GroupKey {
                threshold: self.setup.threshold,
                service_key: ServiceKey(constant.encode()),
                share_keys: participants.map(share_key).collect(),
            },
            qualified: self.dealings.keys().copied().collect(),
            excluded: self.excluded.iter().map(|(dealer, reason)| (*dealer, *reason)).collect(),
        })
    }

    /// What participant `me` has to say once the dealings are complete, or of attested ones once it finds that it has no
    /// share: it opens its share of each and complains about
    /// those that are bad. Deterministic. With a key that is not that of `me` all shares seem bad, and the complaints
    /// prove nothing. For each dealing 0.3 ms, and 70 us per coefficient.
    #[must_use]
    pub fn confirmation(&self, me: u16, key: &DecryptionKey) -> Confirm {
        let complaint = |(dealer, dealing): (&u16, &Dealing)| {
            let route = Route { setup: self.setup.digest(), dealer: *dealer, participant: me };
            match open(dealing, route, key) {
                Some(_) => None,
                None => Complaint::make(route, dealing, key),
            }
        };
        Confirm { complaints: self.dealings.iter().filter_map(complaint).collect() }
    }

    /// The share of participant `me` of the key, once there is one; from the transcript alone, so also for a
    /// participant that was absent.
    ///
    /// # Errors
    /// Why there is no share for this participant and key.
    pub fn key_share(&self, me: u16, key: &DecryptionKey) -> Result<KeyShare, NoShare> {
        if !matches!(self.stage, Stage::Closed(_)) {
            return Err(NoShare::NotClosed);
        }
        let own = self.setup.encryption_keys.get(usize::from(me)).ok_or(NoShare::NoParticipant(me))?;
        if *own != key.public() {
            return Err(NoShare::OtherKey);
        }
        let (mut sum, mut dealers) = (Scalar::zero(), Vec::new());
        for (dealer, dealing) in &self.dealings {
            let route = Route { setup: self.setup.digest(), dealer: *dealer, participant: me };
            match open(dealing, route, key) {
                Some(share) => sum = sum.plus(&share),
                None => dealers.push(*dealer),
            }
        }
        if !dealers.is_empty() {
            return Err(NoShare::BadShares { dealers });
        }
        KeyShare::new(me, sum).ok_or(NoShare::Zero)
    }

    /// The rules.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.stage {
            Stage::Dealing => Phase::Dealing,
            Stage::Confirming => Phase::Confirming,
            Stage::Closed(_) => Phase::Closed,
            Stage::Failed(_) => Phase::Failed,
        }
    }

    /// What it left, once it is closed.
    #[must_use]
    pub fn closed(&self) -> Option<&Outcome> {
        match &self.stage {
            Stage::Closed(outcome) => Some(outcome),
            Stage::Dealing | Stage::Confirming | Stage::Failed(_) => None,
        }
    }

    /// Whether a correct participant proposes to close: everyone has confirmed, or enough have and `waited` tells that
    /// the others had their time. Waiting gives more participants a share of which they know that it is good.
    #[must_use]
    pub fn may_close(&self, waited: bool) -> bool {
        let confirmed = self.confirmed.len();
        let enough = confirmed >= usize::from(self.setup.confirmations());
        self.phase() == Phase::Confirming && enough && (waited || confirmed >= self.setup.participants())
    }

    /// Whether a participant's confirmation counts. Then every dealing that is left has a good share for it.
    #[must_use]
    pub fn has_confirmed(&self, participant: u16) -> bool {
        self.confirmed.contains_key(&participant)
    }

    /// Whose attested dealings were shown to have bad shares, ascending, and who showed it first.
    #[must_use]
    pub fn broken(&self) -> &BTreeMap<u16, u16> {
        &self.broken
    }

    /// Who confirmed with complaints that proved nothing, ascending, and with how many: liars, or participants whose
    /// decryption key is not the one that was announced.
    #[must_use]
    pub fn unproven(&self) -> Vec<(u16, u16)> {
        self.confirmed.iter().filter(|(_, count)| **count > 0).map(|(who, count)| (*who, *count)).collect()
    }

    /// How far it is and who is awaited, in words for a status line.
    #[must_use]
    pub fn progress(&self) -> String {
        match &self.stage {
            Stage::Dealing => {
                let spoke = self.dealings.keys().chain(self.excluded.keys()).copied().collect();
                let (have, needed) = (self.dealings.len(), self.setup.dealings);
                format!("key generation: {have} of {needed} dealings; {}", self.awaited(&spoke))
            }
            Stage::Confirming => {
                let (have, needed) = (self.confirmed.len(), self.setup.confirmations());
                let awaited = self.awaited(&self.confirmed.keys().copied().collect());
                format!("key generation: {have} confirmations, {needed} needed; {awaited}")
            }
            Stage::Closed(outcome) => {
                let (dealers, excluded) = (outcome.qualified.len(), outcome.excluded.len());
                let broken: Vec<String> = self.broken.keys().map(u16::to_string).collect();
                let broken = match &broken[..] {
                    [] => String::new(),
                    dealers => format!("; bad shares under attestation of: {}", dealers.join(", ")),
                };
                format!("key generation: done with {dealers} dealers, {excluded} excluded{broken}")
            }
            Stage::Failed(failure) => format!("key generation: failed, {failure}"),
        }
    }

    fn awaited(&self, spoke: &BTreeSet<u16>) -> String {
        let missing =
            (0..).take(self.setup.participants()).filter(|participant| !spoke.contains(participant));
        let missing: Vec<String> = missing.map(|participant: u16| participant.to_string()).collect();
        if missing.is_empty() {
            "nobody is missing".to_owned()
        } else {
            format!("missing: {}", missing.join(", "))
        }
    }
}

/// What came of complaints.
#[derive(Default)]
struct Judged {
    /// Dealers with a bad share, as far as that was not known.
    proven: Vec<u16>,
    /// How many complaints prove nothing.
    unproven: u16,
}

/// The share that travels on `route`, for whoever has the key; none if it is bad.
fn open(dealing: &Dealing, route: Route, key: &DecryptionKey) -> Option<Scalar> {
    let shared = Point::decode_key(&dealing.ephemeral.0)?.times(key.scalar());
    dealing.open(route, &shared)
}

/// Why a dealer is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum Reason {
    /// It said two different things before the dealings were complete.
    #[error("it dealt twice, differently")]
    Equivocated,
    /// It gave somebody a share that does not fit its polynomial.
    #[error("its share for participant {accuser} was bad")]
    BadShare {
        /// Who showed it first.
        accuser: u16,
    },
}

/// Why a ceremony gives no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum Failure {
    /// More participants are at fault than the rules allow for.
    #[error("only {dealers} usable dealers are left")]
    TooFewDealers {
        /// How many are left.
        dealers: u16,
    },
    /// The rules were impossible.
    #[error(transparent)]
    Setup(BadSetup),
}

/// Why a command is not acceptable here and now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// An index that is nobody's.
    #[error("there is no participant {0}")]
    NoParticipant(u16),
    /// The ceremony has ended.
    #[error("the ceremony is over")]
    Over,
    /// A dealing after they were complete.
    #[error("the dealings are complete already")]
    Late,
    /// A confirmation or a close before the dealings were complete.
    #[error("the dealings are not complete yet")]
    Early,
    /// The dealer is out.
    #[error("this dealer is excluded")]
    Excluded,
    /// Said before.
    #[error("this participant has said so before")]
    Repeated,
    /// A dealing that is not in order.
    #[error("not a dealing: {0}")]
    BadDealing(#[from] BadDealing),
    /// More complaints than there are participants.
    #[error("{0} complaints are more than there are participants")]
    TooManyComplaints(usize),
    /// A close before enough confirmations.
    #[error("{confirmations} confirmations, but {needed} are needed to close")]
    Unconfirmed {
        /// How many there are.
        confirmations: usize,
        /// How many it takes.
        needed: u16,
    },
}

/// Why a participant has no share.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoShare {
    /// There is no key.
    #[error("the ceremony is not closed")]
    NotClosed,
    /// An index that is nobody's.
    #[error("there is no participant {0}")]
    NoParticipant(u16),
    /// A decryption key that is not the one announced.
    #[error("the decryption key is not the one whose public half was announced")]
    OtherKey,
    /// Some dealers' shares are bad, and this participant was too late to complain. The next change of shares brings
    /// it a good one; the others can sign without it.
    #[error("the shares of dealers {dealers:?} are bad, and no complaint came in time")]
    BadShares {
        /// Whose.
        dealers: Vec<u16>,
    },
    /// A share of nothing, which signs nothing. Does not happen but with negligible chance.
    #[error("the share is zero")]
    Zero,
}
