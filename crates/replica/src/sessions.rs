//! At most once: which commands of which client were admitted, and what became of them.
//!
//! Decided in the log's order from the log alone, so that all replicas agree: a command counts as admitted before
//! it has been executed, and one that is admitted twice gets the outcome of the first time, whenever that comes.

use std::collections::BTreeMap;

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
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Session {
    client: ClientId,
    nonce: u64,
    window: u16,
    highest: RequestNumber,
    admitted: BTreeMap<RequestNumber, Admitted>,
    reply_bytes: u64,
    last_use: u64,
}

/// What is known of a command that was admitted.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
enum Admitted {
    /// It runs, as this member of this slot's block.
    Running(Slot, u32),
    /// It ended so.
    Ended(Outcome),
    /// It ended, but the reply was too much to keep.
    Forgotten,
}

/// What is to be done with a command that comes out of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Execute it.
    Run,
    /// It already has this outcome.
    Known(Outcome),
    /// It is the same as this member of this slot's block, which has not ended.
    SameAs(Slot, u32),
}

impl Sessions {
    /// Opens a session for `client`, or finds the one that the same nonce opened.
    pub fn open(
        &mut self,
        client: ClientId,
        nonce: u64,
        window: u16,
        fresh: SessionId,
        config: &Config,
    ) -> SessionId {
        let known = self.by_client.get(&client).and_then(|all| all.iter().find(|(n, _)| *n == nonce));
        if let Some((_, session)) = known.copied() {
            self.touch(session);
            return session;
        }
        self.make_room(client, config);
        self.uses += 1;
        let session = Session {
            client,
            nonce,
            window,
            highest: RequestNumber(0),
            admitted: BTreeMap::new(),
            reply_bytes: 0,
            last_use: self.uses,
        };
        self.sessions.insert(fresh, session);
        self.by_use.insert((self.uses, fresh), client);
        self.by_client.entry(client).or_default().push((nonce, fresh));
        fresh
    }

    /// Judges command `number` of `client` in `session`; if it is to run, it will be member `member` of `slot`.
    pub fn admit(
        &mut self,
        client: ClientId,
        session: SessionId,
        number: RequestNumber,
        slot: Slot,
        member: u32,
    ) -> Verdict {
        let gone = Verdict::Known(Outcome::Refused(Refusal::SessionGone));
        if self.sessions.get(&session).is_none_or(|s| s.client != client) {
            return gone;
        }
        self.touch(session);
        let Some(session) = self.sessions.get_mut(&session) else {
            return gone;
        };
        let stale = Verdict::Known(Outcome::Refused(Refusal::Stale));
        match session.admitted.get(&number) {
            Some(Admitted::Running(slot, member)) => return Verdict::SameAs(*slot, *member),
            Some(Admitted::Ended(outcome)) => return Verdict::Known(outcome.clone()),
            Some(Admitted::Forgotten) => return stale,
            None => {}
        }
        if number <= session.floor() {
            return stale;
        }
        session.highest = session.highest.max(number);
        session.admitted.insert(number, Admitted::Running(slot, member));
        session.drop_below_floor();
        Verdict::Run
    }

    /// Notes what became of a command that ran.
    pub fn ended(&mut self, session: SessionId, number: RequestNumber, outcome: &Outcome, config: &Config) {
        let Some(session) = self.sessions.get_mut(&session) else {
            return;
        };
        // A number that has fallen below the window meanwhile is not kept.
        if let Some(admitted) = session.admitted.get_mut(&number) {
            *admitted = Admitted::Ended(outcome.clone());
            session.reply_bytes += bytes_of(outcome);
            session.keep_within(u64::from(config.session_reply_bytes_max), number);
        }
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

    fn make_room(&mut self, client: ClientId, config: &Config) {
        let own = self.by_client.get(&client).map_or(0, Vec::len);
        if own >= config.client_sessions_max as usize {
            let oldest =
                self.by_client[&client].iter().map(|(_, id)| (self.sessions[id].last_use, *id)).min();
            if let Some((_, id)) = oldest {
                self.give_up(id);
            }
        }
        if self.sessions.len() >= config.sessions_max as usize
            && let Some(((_, id), _)) = self.by_use.first_key_value()
        {
            let id = *id;
            self.give_up(id);
        }
    }

    fn give_up(&mut self, id: SessionId) {
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
    }
}

impl Session {
    /// Numbers up to this are no longer accepted.
    fn floor(&self) -> RequestNumber {
        RequestNumber(self.highest.0.saturating_sub(u64::from(self.window)))
    }

    fn drop_below_floor(&mut self) {
        let floor = self.floor();
        while let Some(entry) = self.admitted.first_entry().filter(|entry| *entry.key() <= floor) {
            if let Admitted::Ended(outcome) = entry.remove() {
                self.reply_bytes -= bytes_of(&outcome);
            }
        }
    }

    /// Forgets the oldest replies until the rest fits; the one of `newest` stays.
    fn keep_within(&mut self, bytes_max: u64, newest: RequestNumber) {
        for (number, admitted) in &mut self.admitted {
            if self.reply_bytes <= bytes_max {
                return;
            }
            if let Admitted::Ended(outcome) = admitted
                && *number != newest
            {
                self.reply_bytes -= bytes_of(outcome);
                *admitted = Admitted::Forgotten;
            }
        }
    }
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
        let id = sessions.open(CLIENT, 7, window, SessionId(100), &Config::default());
        (sessions, id)
    }

    fn admit(sessions: &mut Sessions, id: SessionId, number: u64) -> Verdict {
        sessions.admit(CLIENT, id, RequestNumber(number), Slot(number), 0)
    }

    fn answer(text: &str) -> Outcome {
        Outcome::Answer(text.as_bytes().to_vec())
    }

    const STALE: Verdict = Verdict::Known(Outcome::Refused(Refusal::Stale));
    const GONE: Verdict = Verdict::Known(Outcome::Refused(Refusal::SessionGone));

    #[test]
    fn a_command_runs_once_and_a_repeat_gets_the_same_outcome() {
        let (mut sessions, id) = with_session(4);
        assert_eq!(admit(&mut sessions, id, 1), Verdict::Run);
        assert_eq!(admit(&mut sessions, id, 1), Verdict::SameAs(Slot(1), 0));
        sessions.ended(id, RequestNumber(1), &answer("x"), &Config::default());
        assert_eq!(admit(&mut sessions, id, 1), Verdict::Known(answer("x")));
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
        assert_eq!(sessions.admit(other, id, RequestNumber(1), Slot(1), 0), GONE);
        assert_eq!(admit(&mut sessions, SessionId(5), 1), GONE);
    }

    #[test]
    fn opening_again_with_the_same_nonce_finds_the_session() {
        let (mut sessions, id) = with_session(4);
        let config = Config::default();
        assert_eq!(sessions.open(CLIENT, 7, 4, SessionId(200), &config), id);
        assert_eq!(sessions.open(CLIENT, 8, 4, SessionId(200), &config), SessionId(200));
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn beyond_the_limits_the_session_unused_for_longest_goes() {
        let config = Config { sessions_max: 3, client_sessions_max: 2, ..Config::default() };
        let (mut sessions, first) = with_session(4);
        let second = sessions.open(CLIENT, 8, 4, SessionId(101), &config);
        assert_eq!(admit(&mut sessions, first, 1), Verdict::Run);
        sessions.open(CLIENT, 9, 4, SessionId(102), &config);
        assert_eq!(admit(&mut sessions, second, 1), GONE);
        assert_eq!(admit(&mut sessions, first, 2), Verdict::Run);
        for other in 2..=4 {
            let client = ClientId(PublicKey([other; 32]));
            sessions.open(client, 1, 4, SessionId(200 + u64::from(other)), &config);
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
        assert_eq!(admit(&mut sessions, id, 1), STALE);
        assert_eq!(admit(&mut sessions, id, 3), Verdict::Known(answer("123456")));
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
}
