//! At most once: which commands of which client were admitted, and what became of them.
//!
//! Two clocks tick here, and they must not be mixed, because replicas execute at different speeds. What is *judged*
//! ([`Sessions::admit`]) depends on numbers alone, in the log's order. What is *remembered* ([`Sessions::ended`],
//! [`Sessions::outcome`]) changes as slots end, also in the log's order. A repeat is judged as such at once and finds
//! its outcome when its own slot ends.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use smr_wire::{ClientId, Outcome, Refusal, RequestNumber, SessionId, Slot};

use crate::config::Config;

/// All sessions of the service; part of the replicated state.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// By last use, for giving up the one unused for longest.
    by_use: BTreeMap<(u64, SessionId), ClientId>,
    /// By client, with the nonce that opened each.
    by_client: BTreeMap<ClientId, Vec<(u64, SessionId)>>,
    uses: u64,
    /// Given up in these slots; repeats admitted before may still ask for outcomes until the slot has ended.
    leaving: BTreeMap<SessionId, (Slot, Session)>,
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Session {
    client: ClientId,
    nonce: u64,
    window: u16,
    last_use: u64,
    /// Judged so far: the highest number, and those above the floor that ran.
    highest: RequestNumber,
    admitted: BTreeSet<RequestNumber>,
    /// Ended so far: the highest number, and what became of those above the floor; none if that was too much to
    /// keep.
    highest_ended: RequestNumber,
    ended: BTreeMap<RequestNumber, Option<Outcome>>,
    reply_bytes: u64,
}

/// What is to be done with a command that comes out of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Execute it.
    Run,
    /// It was admitted before: its outcome is found when its slot ends.
    Repeat,
    /// It is not executed.
    Refused(Refusal),
}

impl Sessions {
    /// Opens a session for `client`, or finds the one that the same nonce opened.
    pub fn open(
        &mut self,
        client: ClientId,
        nonce: u64,
        window: u16,
        fresh: SessionId,
        slot: Slot,
        config: &Config,
    ) -> SessionId {
        let known = self.by_client.get(&client).and_then(|all| all.iter().find(|(n, _)| *n == nonce));
        if let Some((_, session)) = known.copied() {
            self.touch(session);
            return session;
        }
        self.make_room(client, slot, config);
        self.uses += 1;
        let session = Session {
            client,
            nonce,
            window,
            last_use: self.uses,
            highest: RequestNumber(0),
            admitted: BTreeSet::new(),
            highest_ended: RequestNumber(0),
            ended: BTreeMap::new(),
            reply_bytes: 0,
        };
        self.sessions.insert(fresh, session);
        self.by_use.insert((self.uses, fresh), client);
        self.by_client.entry(client).or_default().push((nonce, fresh));
        fresh
    }

    /// Judges command `number` of `client` in `session`, from numbers alone.
    pub fn admit(&mut self, client: ClientId, session: SessionId, number: RequestNumber) -> Verdict {
        if self.sessions.get(&session).is_none_or(|s| s.client != client) {
            return Verdict::Refused(Refusal::SessionGone);
        }
        self.touch(session);
        let Some(session) = self.sessions.get_mut(&session) else {
            return Verdict::Refused(Refusal::SessionGone);
        };
        if session.admitted.contains(&number) {
            return Verdict::Repeat;
        }
        if number <= floor(session.highest, session.window) {
            return Verdict::Refused(Refusal::Stale);
        }
        session.highest = session.highest.max(number);
        session.admitted.insert(number);
        let floor = floor(session.highest, session.window);
        session.admitted = session.admitted.split_off(&floor.next());
        Verdict::Run
    }

    /// Notes what became of a command that was to run; called slot by slot, in the order of a slot's members.
    pub fn ended(&mut self, session: SessionId, number: RequestNumber, outcome: &Outcome, config: &Config) {
        let leaving = self.leaving.get_mut(&session).map(|(_, session)| session);
        if let Some(session) = self.sessions.get_mut(&session).or(leaving) {
            session.remember(number, outcome, u64::from(config.session_reply_bytes_max));
        }
    }

    /// What became of a command that was admitted before; called as [`Sessions::ended`].
    #[must_use]
    pub fn outcome(&self, session: SessionId, number: RequestNumber) -> Outcome {
        let leaving = self.leaving.get(&session).map(|(_, session)| session);
        let session = self.sessions.get(&session).or(leaving);
        let known = session.and_then(|session| session.ended.get(&number).cloned().flatten());
        known.unwrap_or(Outcome::Refused(Refusal::Stale))
    }

    /// Everything up to `slot` has ended.
    pub fn end_slot(&mut self, slot: Slot) {
        self.leaving.retain(|_, (given_up, _)| *given_up > slot);
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn touch(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.by_use.remove(&(session.last_use, id));
        self.uses += 1;
        session.last_use = self.uses;
        self.by_use.insert((self.uses, id), session.client);
    }

    fn make_room(&mut self, client: ClientId, slot: Slot, config: &Config) {
        let own = self.by_client.get(&client).map_or(0, Vec::len);
        if own >= config.client_sessions_max as usize {
            let oldest =
                self.by_client[&client].iter().map(|(_, id)| (self.sessions[id].last_use, *id)).min();
            if let Some((_, id)) = oldest {
                self.give_up(id, slot);
            }
        }
        if self.sessions.len() >= config.sessions_max as usize
            && let Some(((_, id), _)) = self.by_use.first_key_value()
        {
            let id = *id;
            self.give_up(id, slot);
        }
    }

    fn give_up(&mut self, id: SessionId, slot: Slot) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.by_use.remove(&(session.last_use, id));
        if let Some(all) = self.by_client.get_mut(&session.client) {
            all.retain(|(_, other)| *other != id);
            if all.is_empty() {
                self.by_client.remove(&session.client);
            }
        }
        self.leaving.insert(id, (slot, session));
    }
}

impl Session {
    fn remember(&mut self, number: RequestNumber, outcome: &Outcome, bytes_max: u64) {
        self.highest_ended = self.highest_ended.max(number);
        self.reply_bytes += bytes_of(outcome);
        self.ended.insert(number, Some(outcome.clone()));
        let floor = floor(self.highest_ended, self.window);
        while let Some(entry) = self.ended.first_entry().filter(|entry| *entry.key() <= floor) {
            self.reply_bytes -= entry.remove().as_ref().map_or(0, bytes_of);
        }
        // The oldest replies go until the rest fits; the one just made stays.
        for (_, kept) in self.ended.iter_mut().filter(|(other, _)| **other != number) {
            if self.reply_bytes <= bytes_max {
                return;
            }
            self.reply_bytes -= kept.take().as_ref().map_or(0, bytes_of);
        }
    }
}

/// Numbers up to this are no longer accepted, or no longer kept.
fn floor(highest: RequestNumber, window: u16) -> RequestNumber {
    RequestNumber(highest.0.saturating_sub(u64::from(window)))
}

fn bytes_of(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Answer(bytes) => bytes.len() as u64,
        Outcome::Fault(text) => text.len() as u64,
        Outcome::Opened(_) | Outcome::Refused(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_crypto::PublicKey;

    const CLIENT: ClientId = ClientId(PublicKey([1; 32]));

    fn with_session(window: u16) -> (Sessions, SessionId) {
        let mut sessions = Sessions::default();
        let id = sessions.open(CLIENT, 7, window, SessionId(100), Slot(1), &Config::default());
        (sessions, id)
    }

    fn admit(sessions: &mut Sessions, id: SessionId, number: u64) -> Verdict {
        sessions.admit(CLIENT, id, RequestNumber(number))
    }

    fn answer(text: &str) -> Outcome {
        Outcome::Answer(text.as_bytes().to_vec())
    }

    const STALE: Verdict = Verdict::Refused(Refusal::Stale);
    const GONE: Verdict = Verdict::Refused(Refusal::SessionGone);

    #[test]
    fn a_command_runs_once_and_a_repeat_gets_the_same_outcome() {
        let (mut sessions, id) = with_session(4);
        assert_eq!(admit(&mut sessions, id, 1), Verdict::Run);
        assert_eq!(admit(&mut sessions, id, 1), Verdict::Repeat);
        sessions.ended(id, RequestNumber(1), &answer("x"), &Config::default());
        assert_eq!(admit(&mut sessions, id, 1), Verdict::Repeat);
        assert_eq!(sessions.outcome(id, RequestNumber(1)), answer("x"));
    }

    #[test]
    fn a_gap_may_be_filled_late_but_not_below_the_window() {
        let (mut sessions, id) = with_session(4);
        assert_eq!(admit(&mut sessions, id, 5), Verdict::Run);
        assert_eq!(admit(&mut sessions, id, 3), Verdict::Run);
        assert_eq!(admit(&mut sessions, id, 1), STALE);
        assert_eq!(admit(&mut sessions, id, 9), Verdict::Run);
        assert_eq!(admit(&mut sessions, id, 5), STALE, "fell out of the window, though it was executed");
    }

    #[test]
    fn a_stranger_and_a_session_never_opened_are_refused() {
        let (mut sessions, id) = with_session(4);
        let other = ClientId(PublicKey([2; 32]));
        assert_eq!(sessions.admit(other, id, RequestNumber(1)), GONE);
        assert_eq!(admit(&mut sessions, SessionId(5), 1), GONE);
    }

    #[test]
    fn opening_again_with_the_same_nonce_finds_the_session() {
        let (mut sessions, id) = with_session(4);
        let config = Config::default();
        assert_eq!(sessions.open(CLIENT, 7, 4, SessionId(200), Slot(1), &config), id);
        assert_eq!(sessions.open(CLIENT, 8, 4, SessionId(200), Slot(1), &config), SessionId(200));
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn beyond_the_limits_the_session_unused_for_longest_goes() {
        let config = Config { sessions_max: 3, client_sessions_max: 2, ..Config::default() };
        let (mut sessions, first) = with_session(4);
        let second = sessions.open(CLIENT, 8, 4, SessionId(101), Slot(1), &config);
        assert_eq!(admit(&mut sessions, first, 1), Verdict::Run);
        sessions.open(CLIENT, 9, 4, SessionId(102), Slot(1), &config);
        assert_eq!(admit(&mut sessions, second, 1), GONE);
        assert_eq!(admit(&mut sessions, first, 2), Verdict::Run);
        for other in 2..=4 {
            let client = ClientId(PublicKey([other; 32]));
            sessions.open(client, 1, 4, SessionId(200 + u64::from(other)), Slot(1), &config);
        }
        assert_eq!(sessions.len(), 3);
        assert_eq!(sessions.by_use.len(), 3);
        assert_eq!(admit(&mut sessions, first, 3), GONE);
    }

    #[test]
    fn large_replies_are_forgotten_oldest_first_and_never_executed_again() {
        let config = Config { session_reply_bytes_max: 10, ..Config::default() };
        let (mut sessions, id) = with_session(8);
        for number in 1..=3 {
            assert_eq!(admit(&mut sessions, id, number), Verdict::Run);
            sessions.ended(id, RequestNumber(number), &answer("123456"), &config);
        }
        assert_eq!(admit(&mut sessions, id, 1), Verdict::Repeat);
        assert_eq!(sessions.outcome(id, RequestNumber(1)), Outcome::Refused(Refusal::Stale));
        assert_eq!(sessions.outcome(id, RequestNumber(3)), answer("123456"));
    }

    #[test]
    fn equal_histories_have_equal_encodings() {
        let make = || {
            let (mut sessions, id) = with_session(4);
            admit(&mut sessions, id, 2);
            admit(&mut sessions, id, 1);
            sessions.ended(id, RequestNumber(2), &answer("x"), &Config::default());
            smr_wire::encode(&sessions)
        };
        assert_eq!(make(), make());
    }

    #[test]
    fn judging_ahead_of_execution_changes_neither_verdicts_nor_outcomes() {
        let config = Config { session_reply_bytes_max: 10, ..Config::default() };
        let numbers = [1, 2, 1, 6, 2, 3, 6];
        let run = |ahead: usize| {
            let (mut sessions, id) = with_session(4);
            let (mut verdicts, mut outcomes) = (Vec::new(), Vec::new());
            for step in 0..numbers.len() + ahead {
                if let Some(number) = numbers.get(step) {
                    verdicts.push(admit(&mut sessions, id, *number));
                }
                let Some(end) = step.checked_sub(ahead) else { continue };
                let number = RequestNumber(numbers[end]);
                match &verdicts[end] {
                    Verdict::Run => sessions.ended(id, number, &answer("123456"), &config),
                    Verdict::Repeat => outcomes.push(sessions.outcome(id, number)),
                    Verdict::Refused(_) => {}
                }
            }
            (verdicts, outcomes, smr_wire::encode(&sessions))
        };
        for ahead in 1..7 {
            assert_eq!(run(0), run(ahead), "{ahead} slots ahead");
        }
    }
}
