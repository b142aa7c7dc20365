//! Which contact to ask. One is preferred, so that a client's requests stay together; it loses that place when it
//! is silent, hints, lies or breaks, and the next of a shuffled list takes it. A contact that lied or broke is left
//! alone for a while.

use smr_wire::Timestamp;
use smr_wire::client::ProofKind;

use super::ContactId;
use crate::chance::Chance;
use crate::config::Config;

/// The contacts a client knows, in the order it tries them.
#[derive(Clone, Debug)]
pub(super) struct Contacts {
    order: Vec<Contact>,
    preferred: usize,
}

#[derive(Clone, Debug)]
struct Contact {
    id: ContactId,
    link: Link,
    free_from: Timestamp,
    breaks: u32,
    lies: u32,
    heard: Timestamp,
    /// Whether it is known not to be of the service, since it last was.
    is_stranger: bool,
    /// What its replies must be shown with.
    proof: ProofKind,
}

/// How a contact's channel stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    Down,
    Connecting,
    Up,
}

/// Whom to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    Ask(ContactId),
    /// All are to be left alone until then.
    Later(Timestamp),
}

impl Contacts {
    pub(super) fn new() -> Contacts {
        Contacts { order: Vec::new(), preferred: 0 }
    }

    /// Makes `ids` the contacts; what is known of those that stay is kept, newcomers stand behind them in an order
    /// of chance. Returns those that go.
    pub(super) fn set(&mut self, ids: &[ContactId], config: &Config, chance: &mut Chance) -> Vec<ContactId> {
        let ids = &ids[..ids.len().min(usize::from(config.contacts_max))];
        let preferred = self.order.get(self.preferred).map(|contact| contact.id);
        let gone = self.order.iter().map(|c| c.id).filter(|id| !ids.contains(id)).collect();
        self.order.retain(|contact| ids.contains(&contact.id));
        let mut newcomers: Vec<ContactId> = Vec::new();
        for id in ids {
            if self.position(*id).is_none() && !newcomers.contains(id) {
                let place = chance.below(newcomers.len() as u64 + 1);
                newcomers.insert(usize::try_from(place).unwrap_or(0), *id);
            }
        }
        self.order.extend(newcomers.into_iter().map(Contact::new));
        self.preferred = preferred.and_then(|id| self.position(id)).unwrap_or(0);
        gone
    }

    /// Whom to ask at `clock`, preferably not `other_than`.
    pub(super) fn choose(&self, clock: Timestamp, other_than: Option<ContactId>) -> Choice {
        let free = |contact: &&Contact| contact.free_from <= clock;
        let preferred = self.order.get(self.preferred).filter(free).filter(|c| Some(c.id) != other_than);
        let start = other_than.and_then(|id| self.position(id)).map_or(self.preferred, |at| at + 1);
        let around = || (0..self.order.len()).map(|step| &self.order[(start + step) % self.order.len()]);
        let next = || around().filter(free).find(|contact| Some(contact.id) != other_than);
        if let Some(contact) = preferred.or_else(next).or_else(|| around().find(free)) {
            return Choice::Ask(contact.id);
        }
        let soonest = self.order.iter().map(|contact| contact.free_from).min();
        Choice::Later(soonest.unwrap_or(Timestamp(u64::MAX)))
    }

    /// Takes the preference from `id`, if it has it and there is another to give it to.
    pub(super) fn demote(&mut self, clock: Timestamp, id: ContactId) {
        if self.order.get(self.preferred).is_some_and(|contact| contact.id == id)
            && let Choice::Ask(other) = self.choose(clock, Some(id))
            && let Some(at) = self.position(other)
        {
            self.preferred = at;
        }
    }

    /// How the channel to `id` stands; down if there is no such contact.
    pub(super) fn link(&self, id: ContactId) -> Link {
        self.position(id).map_or(Link::Down, |at| self.order[at].link)
    }

    /// A channel to `id` is being made.
    pub(super) fn connecting(&mut self, id: ContactId) {
        self.with(id, |contact| contact.link = Link::Connecting);
    }

    /// The channel to `id` stands.
    pub(super) fn connected(&mut self, clock: Timestamp, id: ContactId, proof: ProofKind) {
        self.with(id, |contact| {
            contact.link = Link::Up;
            contact.heard = clock;
            contact.is_stranger = false;
            contact.proof = proof;
        });
    }

    /// Whether the word of `id` is enough.
    pub(super) fn is_believed(&self, id: ContactId) -> bool {
        self.order.iter().any(|contact| contact.id == id && contact.proof == ProofKind::Channel)
    }

    /// `id` said something, whatever it was.
    pub(super) fn heard(&mut self, clock: Timestamp, id: ContactId) {
        self.with(id, |contact| contact.heard = clock);
    }

    /// `id` said something certified: its channel is as good as any.
    pub(super) fn was_good(&mut self, id: ContactId) {
        self.with(id, |contact| contact.breaks = 0);
    }

    /// Milliseconds since `id` last said anything, or its channel was made.
    pub(super) fn silent_ms(&self, clock: Timestamp, id: ContactId) -> u64 {
        self.position(id).map_or(0, |at| clock.since(self.order[at].heard))
    }

    /// The channel to `id` broke or could not be made.
    pub(super) fn broke(&mut self, clock: Timestamp, id: ContactId, config: &Config, chance: &mut Chance) {
        let jitter = chance.below(config.reconnect_ms);
        self.with(id, |contact| {
            let pause = doubled(config.reconnect_ms, contact.breaks, config.avoid_max_ms) + jitter;
            contact.breaks = contact.breaks.saturating_add(1);
            contact.leave_alone(clock.plus_ms(pause));
        });
        self.demote(clock, id);
    }

    /// What answers at `id` is not the service. It stays so until a channel to it stands.
    pub(super) fn estranged(&mut self, id: ContactId) {
        self.with(id, |contact| contact.is_stranger = true);
    }

    /// Whether no contact is connected, and more than half of them proved to be of another service or key. Fewer than
    /// half of a service's replicas can lie, so then it is the descriptor that does not fit; one that is down makes no
    /// difference.
    pub(super) fn are_mostly_strangers(&self) -> bool {
        let strangers = self.order.iter().filter(|contact| contact.is_stranger).count();
        2 * strangers > self.order.len() && self.order.iter().all(|contact| contact.link != Link::Up)
    }

    /// `id` lied.
    pub(super) fn lied(&mut self, clock: Timestamp, id: ContactId, config: &Config) {
        self.with(id, |contact| {
            let pause = doubled(config.avoid_ms, contact.lies, config.avoid_max_ms);
            contact.lies = contact.lies.saturating_add(1);
            contact.leave_alone(clock.plus_ms(pause));
        });
        self.demote(clock, id);
    }

    fn with(&mut self, id: ContactId, change: impl FnOnce(&mut Contact)) {
        if let Some(at) = self.position(id) {
            change(&mut self.order[at]);
        }
    }

    fn position(&self, id: ContactId) -> Option<usize> {
        self.order.iter().position(|contact| contact.id == id)
    }
}

impl Contact {
    fn new(id: ContactId) -> Contact {
        let never = Timestamp(0);
        Contact {
            id,
            link: Link::Down,
            free_from: never,
            breaks: 0,
            lies: 0,
            heard: never,
            is_stranger: false,
            proof: ProofKind::Certified,
        }
    }

    fn leave_alone(&mut self, until: Timestamp) {
        self.link = Link::Down;
        self.free_from = self.free_from.max(until);
    }
}

/// `first`, doubled `times` times, up to `max`.
pub(super) fn doubled(first: u64, times: u32, max: u64) -> u64 {
    first.saturating_mul(1 << times.min(32)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [ContactId; 3] = [ContactId(0), ContactId(1), ContactId(2)];

    fn three() -> (Contacts, Config, Chance) {
        let (config, mut chance) = (Config::default(), Chance::new(&[1; 32]));
        let mut contacts = Contacts::new();
        contacts.set(&IDS, &config, &mut chance);
        (contacts, config, chance)
    }

    fn asked(contacts: &Contacts, clock: u64, other_than: Option<ContactId>) -> ContactId {
        match contacts.choose(Timestamp(clock), other_than) {
            Choice::Ask(id) => id,
            Choice::Later(at) => panic!("nobody until {at}"),
        }
    }

    #[test]
    fn silence_goes_round_all_contacts() {
        let (mut contacts, ..) = three();
        let mut seen = Vec::new();
        let mut at = asked(&contacts, 1, None);
        for _ in 0..3 {
            seen.push(at);
            contacts.demote(Timestamp(1), at);
            at = asked(&contacts, 1, Some(at));
        }
        assert_eq!(at, seen[0]);
        seen.sort_unstable();
        assert_eq!(seen, IDS);
    }

    #[test]
    fn a_liar_is_left_alone_for_longer_each_time() {
        let (mut contacts, config, _) = three();
        let liar = asked(&contacts, 0, None);
        contacts.lied(Timestamp(0), liar, &config);
        contacts.lied(Timestamp(0), liar, &config);
        let others: Vec<ContactId> = IDS.into_iter().filter(|id| *id != liar).collect();
        contacts.demote(Timestamp(0), others[0]);
        for clock in [0, config.avoid_ms, 2 * config.avoid_ms - 1] {
            for other in &others {
                assert_ne!(asked(&contacts, clock, Some(*other)), liar);
            }
        }
    }

    #[test]
    fn when_all_are_to_be_left_alone_the_answer_is_when_that_ends() {
        let (mut contacts, config, _) = three();
        for (wait, id) in IDS.into_iter().enumerate() {
            contacts.lied(Timestamp(wait as u64), id, &config);
        }
        assert_eq!(contacts.choose(Timestamp(9), None), Choice::Later(Timestamp(config.avoid_ms)));
        assert_eq!(asked(&contacts, config.avoid_ms, Some(IDS[0])), IDS[0]);
        assert_eq!(Contacts::new().choose(Timestamp(9), None), Choice::Later(Timestamp(u64::MAX)));
    }

    #[test]
    fn a_new_list_keeps_what_is_known_of_those_that_stay() {
        let (mut contacts, config, mut chance) = three();
        contacts.connected(Timestamp(1), IDS[1], ProofKind::Certified);
        let gone = contacts.set(&[ContactId(1), ContactId(7)], &config, &mut chance);
        assert_eq!(gone.len(), 2);
        assert_eq!(contacts.link(IDS[1]), Link::Up);
        assert_eq!(contacts.link(ContactId(7)), Link::Down);
        assert_eq!(contacts.order.len(), 2);
    }
}
