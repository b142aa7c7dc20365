//! One participant's contribution to the key: a polynomial in public, and a share of it for everyone, encrypted.

use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroize;

use super::encryption::{PointBytes, Route};
use super::proof::{Pair, Proof};
use super::setup::{PARTICIPANTS_MAX, Setup};
use crate::Digest;
use crate::curve::{self, Point, Polynomial, Scalar};

/// A dealing. It travels under its dealer's authority; what the shares decrypt to is for each participant to check.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Dealing {
    /// The coefficients of the polynomial times the generator, lowest first; exactly threshold many.
    pub commitment: Vec<PointBytes>,
    /// R = r*G, the dealer's half of the exchange that encrypts the shares.
    pub ephemeral: PointBytes,
    /// By participant: its share, 32 bytes big endian, under the key stream of r*E.
    pub shares: Vec<[u8; 32]>,
    /// That the dealer knows the constant term: then it cannot cancel what others deal.
    pub constant_proof: Proof,
    /// That the dealer knows r: then R is not derived from another dealer's, which a complaint would open.
    pub ephemeral_proof: Proof,
}

/// What dealings are made from: 32 secret bytes from a good source of chance, kept until the ceremony ends. Wiped when
/// dropped; never printed.
#[derive(Clone)]
pub struct DealingSeed(pub [u8; 32]);

impl DealingSeed {
    /// The next one, from which nobody finds this one.
    #[must_use]
    pub fn next(&self) -> DealingSeed {
        DealingSeed(Digest::of("SMRCLOUD-DKG-NEXT-SEED-V1", &[&self.0]).0)
    }
}

impl Drop for DealingSeed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for DealingSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DealingSeed(..)")
    }
}

impl Dealing {
    /// The dealing of participant `dealer` that `secret_seed` stands for. The same arguments give the same dealing, so
    /// a dealer that restarts repeats itself; the seed, of 32 bytes from a good source of chance, is therefore kept
    /// until the ceremony ends. One seed may serve several ceremonies, since secrets depend on all of `setup` too.
    #[must_use]
    pub fn make(setup: &Setup, dealer: u16, secret_seed: &[u8; 32]) -> Dealing {
        let ceremony = setup.digest();
        let secret = |purpose: &[u8], place: u16| {
            let parts: [&[u8]; 5] =
                [secret_seed, &ceremony.0, &dealer.to_le_bytes(), purpose, &place.to_le_bytes()];
            Scalar::derive("SMRCLOUD-DKG-DEALING-SECRET-V1", &parts)
        };
        let polynomial =
            Polynomial((0..setup.threshold).map(|power| secret(b"coefficient", power)).collect());
        let ephemeral = secret(b"ephemeral", 0);
        let commitment: Vec<Point> = polynomial.0.iter().map(|c| Point::generator().times(c)).collect();
        let commitment: Vec<PointBytes> = commitment.iter().map(|point| PointBytes(point.encode())).collect();
        let public = Point::generator().times(&ephemeral);
        let statement = statement(&ceremony, dealer, &commitment, &PointBytes(public.encode()));
        let prove = |secret: &Scalar, purpose: Purpose| {
            let pair = Pair { base: Point::generator(), image: Point::generator().times(secret) };
            Proof::make(secret, &purpose.of(&statement), &[pair])
        };
        let keys = setup.encryption_keys.iter().take(PARTICIPANTS_MAX);
        let shares = (0..).zip(keys).map(|(participant, key)| {
            let route = Route { setup: ceremony, dealer, participant };
            let share = polynomial.share_of(participant);
            // Such a participant can read nothing anyway, and a setup that has one is refused.
            key.point().map_or([0; 32], |key| *route.apply_stream(&key.times(&ephemeral), &share.to_bytes()))
        });
        Dealing {
            shares: shares.collect(),
            constant_proof: prove(&secret(b"coefficient", 0), Purpose::Constant),
            ephemeral_proof: prove(&ephemeral, Purpose::Ephemeral),
            commitment,
            ephemeral: PointBytes(public.encode()),
        }
    }

    /// Whether the public part of a dealing of `dealer` is in order. 70 us per coefficient, and 0.5 ms.
    ///
    /// # Errors
    /// What is not.
    pub(super) fn check(&self, setup: &Setup, dealer: u16) -> Result<(), BadDealing> {
        let (coefficients, threshold) = (self.commitment.len(), usize::from(setup.threshold));
        if coefficients != threshold {
            return Err(BadDealing::Degree { coefficients, threshold });
        }
        let (shares, participants) = (self.shares.len(), setup.participants());
        if shares != participants {
            return Err(BadDealing::Shares { shares, participants });
        }
        let points = self.points().ok_or(BadDealing::Point)?;
        let ephemeral = Point::decode_key(&self.ephemeral.0).ok_or(BadDealing::Ephemeral)?;
        let constant = points.first().filter(|point| !point.is_identity()).ok_or(BadDealing::Constant)?;
        if points.last().is_none_or(Point::is_identity) {
            return Err(BadDealing::Degree { coefficients: coefficients - 1, threshold });
        }
        let statement = statement(&setup.digest(), dealer, &self.commitment, &self.ephemeral);
        let holds = |proof: &Proof, purpose: Purpose, image: Point| {
            proof.holds(&purpose.of(&statement), &[Pair { base: Point::generator(), image }])
        };
        if !holds(&self.constant_proof, Purpose::Constant, *constant) {
            return Err(BadDealing::ConstantProof);
        }
        if !holds(&self.ephemeral_proof, Purpose::Ephemeral, ephemeral) {
            return Err(BadDealing::EphemeralProof);
        }
        Ok(())
    }

    /// The coefficients; none if one is no point.
    pub(super) fn points(&self) -> Option<Vec<Point>> {
        self.commitment.iter().map(|bytes| Point::decode(&bytes.0)).collect()
    }

    /// The share that travels on `route`, opened with the shared point; none if it does not fit the polynomial.
    pub(super) fn open(&self, route: Route, shared: &Point) -> Option<Scalar> {
        let sealed = self.shares.get(usize::from(route.participant))?;
        let share = Scalar::from_bytes(&route.apply_stream(shared, sealed))?;
        let expected = curve::public_share_of(&self.points()?, route.participant);
        (Point::generator().times(&share) == expected).then_some(share)
    }
}

/// What the proofs of a dealing are about. The shares are not part of it: they need no proof, and are opened or
/// complained about one by one.
fn statement(ceremony: &Digest, dealer: u16, commitment: &[PointBytes], ephemeral: &PointBytes) -> Digest {
    Digest::of_value("SMRCLOUD-DKG-DEALING-V1", &(ceremony, dealer, commitment, ephemeral))
}

/// Which of the two proofs of a dealing.
#[derive(Clone, Copy)]
enum Purpose {
    Constant,
    Ephemeral,
}

impl Purpose {
    fn of(self, statement: &Digest) -> Digest {
        let tag = match self {
            Purpose::Constant => "SMRCLOUD-DKG-CONSTANT-V1",
            Purpose::Ephemeral => "SMRCLOUD-DKG-EPHEMERAL-V1",
        };
        Digest::of(tag, &[&statement.0])
    }
}

/// What is wrong with a dealing, for everyone to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadDealing {
    /// A polynomial of another degree, which would change how many it takes to sign.
    #[error("a polynomial of {coefficients} coefficients, but {threshold} are asked for")]
    Degree {
        /// How many there are, or how many count.
        coefficients: usize,
        /// How many there must be.
        threshold: usize,
    },
    /// Not one share for each participant.
    #[error("{shares} shares for {participants} participants")]
    Shares {
        /// How many there are.
        shares: usize,
        /// How many there must be.
        participants: usize,
    },
    /// A coefficient that is no point of the group.
    #[error("a coefficient is no point of the group")]
    Point,
    /// An ephemeral key that is no point of the group, or the identity.
    #[error("the ephemeral key is no key")]
    Ephemeral,
    /// A constant term of nothing: it adds nothing to the key.
    #[error("the constant term is the identity")]
    Constant,
    /// The dealer does not show that it knows the constant term.
    #[error("the proof of the constant term does not hold")]
    ConstantProof,
    /// The dealer does not show that it knows the ephemeral secret.
    #[error("the proof of the ephemeral key does not hold")]
    EphemeralProof,
}
