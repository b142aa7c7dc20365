//! Key generation of replicas with trusted cores, as the log delivers it: what counts, what does not, and what becomes of a
//! core that is none.

use std::sync::Arc;

use smr_consensus::lanes::core::{AttestedDealing, Refusal, SoftwareCore};
use smr_consensus::verified::Rules;
use smr_consensus::{Group, ProtocolName};
use smr_crypto::dkg::{Command, Complaint, Confirm, Dealing, DealingSeed, DecryptionKey, NoShare, Phase};
use smr_crypto::{Digest, IdentityKey, Verifier};
use smr_replica::epoch::{Voice, Wants};
use smr_replica::system::{Applied, SystemCommand, SystemState};
use smr_replica::{Config, Genesis, Member, Secrets};
use smr_wire::{ReplicaId, Slot, Timestamp};

/// Replicas with cores, and the state that they all have.
struct Cast {
    genesis: Genesis,
    group: Arc<Group>,
    secrets: Vec<Secrets>,
    voices: Vec<Voice>,
    cores: Vec<SoftwareCore>,
    /// Keys of the cores: for a core that is none.
    keys: Vec<Arc<IdentityKey>>,
    state: SystemState,
    verifier: Verifier,
}

impl Cast {
    fn new() -> Cast {
        let seed = |kind: u8, place: usize| [kind + u8::try_from(place).expect("few"); 32];
        let identity = |kind, place| Arc::new(IdentityKey::from_seed(&seed(kind, place)));
        let secrets: Vec<Secrets> = (0..3)
            .map(|place| Secrets {
                identity: identity(10, place),
                decryption: Arc::new(DecryptionKey::from_seed(&seed(20, place))),
                dealing_seed: DealingSeed(seed(30, place)),
            })
            .collect();
        let keys: Vec<Arc<IdentityKey>> = (0..3).map(|place| identity(40, place)).collect();
        let member = |place: usize| Member {
            identity: secrets[place].identity.public(),
            channel: identity(50, place).public(),
            encryption: secrets[place].decryption.public(),
            core: Some(keys[place].public()),
            address: format!("replica-{place}:1"),
        };
        let genesis = Genesis {
            name: "test".into(),
            application: "none".into(),
            protocol: ProtocolName::Ebawa,
            faults: 1,
            members: (0..3).map(member).collect(),
            administrator: identity(60, 0).public(),
            durable: false,
            scheduling: smr_replica::Scheduling::sequential(),
            config: Config::default(),
        };
        genesis.validate().expect("valid");
        let group = Arc::new(genesis.group());
        let window_slots = genesis.config.consensus.window_slots;
        let core = |place: usize| {
            let (group, seed) = (group.clone(), DealingSeed(seed(70, place)));
            SoftwareCore::new(group, window_slots, ReplicaId::at(place), keys[place].clone(), seed)
        };
        let mut state = SystemState::new(&genesis);
        state.begin_slot(Slot(1), &Digest::default(), Timestamp(1000));
        Cast {
            cores: (0..3).map(core).collect(),
            voices: vec![Voice::default(); 3],
            verifier: Verifier::new(8),
            genesis,
            group,
            secrets,
            keys,
            state,
        }
    }

    fn wants(&mut self, me: usize) -> Option<Wants> {
        self.voices[me].next(ReplicaId::at(me), &self.state, &self.secrets[me], true)
    }

    /// What the core of `me` deals when its replica wants that.
    fn dealt(&mut self, me: usize) -> AttestedDealing {
        let Some(Wants::Deal(attempt)) = self.wants(me) else { panic!("{me} wants to deal") };
        self.cores[me].deal(&attempt).expect("the first dealing of this core")
    }

    fn apply(&mut self, author: usize, command: &SystemCommand) -> Option<Applied> {
        let config = &self.genesis.config.consensus;
        let rules = Rules { group: &self.group, config, verifier: &self.verifier };
        let before = self.state.clone();
        let payload = smr_wire::encode(command);
        let applied = self.state.apply(ReplicaId::at(author), &payload, &self.genesis, &rules);
        assert!(applied.is_some() || self.state == before, "what does not count leaves nothing");
        applied
    }

    fn attested(&mut self, author: usize, dealt: &AttestedDealing) -> Option<Applied> {
        self.apply(author, &SystemCommand::Attested(Box::new(dealt.clone())))
    }

    fn ceremony(&mut self, author: usize, command: Command) -> Option<Applied> {
        self.apply(author, &SystemCommand::Ceremony { attempt: 0, command: Box::new(command) })
    }

    /// What the core of `me` would sign of a dealing that was changed, if it did sign such things.
    fn signed_all_the_same(&self, me: usize, dealing: Dealing) -> AttestedDealing {
        let window_slots = self.genesis.config.consensus.window_slots;
        let replica = ReplicaId::at(me);
        let scope = smr_consensus::lanes::core::Scope { group: &self.group, window_slots, replica };
        let statement = scope.deal(0, self.state.ceremony.setup(), &dealing);
        AttestedDealing { attempt: 0, attestation: self.keys[me].sign(&statement), dealing }
    }
}

fn complaints(wants: Option<Wants>) -> Confirm {
    let Some(Wants::Say(SystemCommand::Ceremony { command, .. })) = wants else { panic!("{wants:?}") };
    let Command::Confirm(confirm) = *command else { panic!("{command:?}") };
    confirm
}

#[test]
fn two_dealings_of_cores_are_a_key_of_which_all_three_have_shares_and_nobody_has_more_to_say() {
    let mut cast = Cast::new();
    let (last, first) = (cast.dealt(0), cast.dealt(2));
    assert_eq!(cast.wants(0), None, "it waits for its core, and for the others");
    assert_eq!(cast.attested(2, &first), Some(Applied::CeremonyProgressed));
    let key = cast.attested(0, &last);
    assert_eq!(key, Some(Applied::KeyGenerated { qualified: vec![0, 2], excluded: vec![] }));
    for me in 0..3 {
        assert_eq!(cast.wants(me), None);
        let index = u16::try_from(me).unwrap();
        assert!(cast.state.ceremony.key_share(index, &cast.secrets[me].decryption).is_ok());
    }
    assert_eq!(cast.ceremony(0, Command::Close), None);
    assert_eq!(cast.attested(2, &first), None);
}

#[test]
fn a_dealing_counts_with_the_word_of_its_dealer_s_core_for_it_only() {
    let mut cast = Cast::new();
    let (good, other) = (cast.dealt(1), cast.dealt(2));
    assert_eq!(cast.ceremony(1, Command::Deal(good.dealing.clone())), None, "without any");
    let mut altered = good.clone();
    altered.dealing.shares[0][0] ^= 1;
    assert_eq!(cast.attested(1, &altered), None, "for another dealing");
    assert_eq!(cast.attested(0, &good), None, "of another's core");
    assert_eq!(cast.attested(1, &AttestedDealing { attempt: 1, ..good.clone() }), None, "in another attempt");
    let borrowed = AttestedDealing { attestation: other.attestation, ..good.clone() };
    assert_eq!(cast.attested(1, &borrowed), None, "of another, for another dealing");
    let own = Dealing::make(cast.state.ceremony.setup(), 1, &[9; 32]);
    let by_itself = cast.secrets[1].identity.sign(&Digest::default());
    let by_itself = AttestedDealing { attempt: 0, dealing: own, attestation: by_itself };
    assert_eq!(cast.attested(1, &by_itself), None, "by the replica itself");
    assert_eq!(cast.attested(1, &good), Some(Applied::CeremonyProgressed));
    assert_eq!(cast.attested(1, &good), None, "again");
}

#[test]
fn what_a_core_dealt_by_other_rules_is_no_dealing_and_there_is_no_second_one() {
    let mut cast = Cast::new();
    let Some(Wants::Deal(mut attempt)) = cast.wants(1) else { panic!("it wants to deal") };
    // All shares to its own replica, which would know the polynomial.
    let own = attempt.setup.encryption_keys[1];
    attempt.setup.encryption_keys.fill(own);
    let opened = cast.cores[1].deal(&attempt).unwrap();
    assert_eq!(cast.attested(1, &opened), None);
    attempt.setup = cast.state.ceremony.setup().clone();
    assert_eq!(cast.cores[1].deal(&attempt), Err(Refusal::Dealt));
}

#[test]
fn a_core_that_is_none_is_shown_to_be_by_its_victim_and_nobody_else_is() {
    let mut cast = Cast::new();
    let (good, mut bad) = (cast.dealt(0), cast.dealt(1).dealing);
    bad.shares[2][0] ^= 1;
    let bad = cast.signed_all_the_same(1, bad);
    assert_eq!(cast.attested(1, &bad), Some(Applied::CeremonyProgressed));
    assert!(matches!(cast.attested(0, &good), Some(Applied::KeyGenerated { .. })));
    let share = cast.state.ceremony.key_share(2, &cast.secrets[2].decryption);
    assert_eq!(share.unwrap_err(), NoShare::BadShares { dealers: vec![1] });
    assert_eq!(cast.wants(0), None, "its shares are good");

    let confirm = complaints(cast.wants(2));
    assert_eq!(cast.wants(2), None, "it says so once");
    let blamed: Vec<u16> = confirm.complaints.iter().map(|complaint| complaint.dealer).collect();
    assert_eq!(blamed, [1]);
    // The one whose core it is turns the same against another.
    let turned = Complaint { dealer: 0, ..confirm.complaints[0] };
    let nothing = cast.ceremony(1, Command::Confirm(Confirm { complaints: vec![turned] }));
    assert_eq!(nothing, Some(Applied::CeremonyProgressed));
    let key = cast.state.key.clone();
    assert_eq!(cast.ceremony(2, Command::Confirm(confirm)), Some(Applied::CoresBroken(vec![1])));
    assert_eq!(cast.state.ceremony.broken().iter().collect::<Vec<_>>(), [(&1, &2)]);
    assert_eq!((cast.state.ceremony.phase(), cast.state.key), (Phase::Closed, key), "the key stands");
}
