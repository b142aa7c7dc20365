//! What a participant says about the dealings: that it opened them, and which shares were bad, with proof.

use borsh::{BorshDeserialize, BorshSerialize};

use super::dealing::Dealing;
use super::encryption::{DecryptionKey, PointBytes, Route};
use super::proof::{Pair, Proof};
use super::setup::Setup;
use crate::Digest;
use crate::curve::Point;

/// That a participant has opened every dealing: it has a good share of each but those it complains about.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Confirm {
    /// About whom, ascending; as many as there are participants at most.
    pub complaints: Vec<Complaint>,
}

/// That one share is bad. Opens that share, and no other, to everyone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Complaint {
    /// Whose dealing.
    pub dealer: u16,
    /// S = e*R, which opens the share.
    pub shared: PointBytes,
    /// That S leads to R as the participant's encryption key does to the generator.
    pub proof: Proof,
}

impl Complaint {
    /// The complaint that travels back on `route`; none about a dealing that is none.
    pub(super) fn make(route: Route, dealing: &Dealing, key: &DecryptionKey) -> Option<Complaint> {
        let ephemeral = Point::decode_key(&dealing.ephemeral.0)?;
        let shared = ephemeral.times(key.scalar());
        let own = Point::generator().times(key.scalar());
        let pairs = [Pair { base: Point::generator(), image: own }, Pair { base: ephemeral, image: shared }];
        let proof = Proof::make(key.scalar(), &statement(route), &pairs);
        Some(Complaint { dealer: route.dealer, shared: PointBytes(shared.encode()), proof })
    }

    /// Whether `accuser` shows that `dealing` has a bad share for it: the shared point is proven, and what it opens
    /// does not fit the polynomial.
    pub(super) fn is_proven(&self, setup: &Setup, accuser: u16, dealing: &Dealing) -> bool {
        if crate::known_bugs::BELIEVES_NO_COMPLAINT.is_on() {
            return false;
        }
        let route = Route { setup: setup.digest(), dealer: self.dealer, participant: accuser };
        let key = setup.encryption_keys.get(usize::from(accuser)).and_then(|key| key.point());
        let points = (key, Point::decode_key(&dealing.ephemeral.0), Point::decode_key(&self.shared.0));
        let (Some(key), Some(ephemeral), Some(shared)) = points else {
            return false;
        };
        let pairs = [Pair { base: Point::generator(), image: key }, Pair { base: ephemeral, image: shared }];
        self.proof.holds(&statement(route), &pairs) && dealing.open(route, &shared).is_none()
    }
}

fn statement(route: Route) -> Digest {
    Digest::of_value("SMRCLOUD-DKG-COMPLAINT-V1", &(route.setup, route.dealer, route.participant))
}
