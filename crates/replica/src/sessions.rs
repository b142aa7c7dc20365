//! At most once: which commands of which client were admitted, and what became of them.
//!
//! Two clocks tick here, and they must not be mixed, because replicas execute at different speeds. What is *judged*
//! ([`Sessions::admit`]) depends on numbers alone, in the log's order. What is *remembered* ([`Sessions::ended`],
//! [`Sessions::outcome`]) changes as slots end, also in the log's order. A repeat is judged as such at once and finds
//! its outcome when its own slot ends.
//!
//! Anyone may open sessions, so room is given to those in use: a session in which a command was executed within
//! `session_idle_ms` of agreed time is not given up for a newcomer, who gets a certified [`Refusal::Full`] instead.
//! A session without any command goes first. That makes old requests harmless when somebody sends them again: an
//! old opening makes at most a session that nobody uses, and a repeated command counts as no use.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use smr_wire::{ClientId, Outcome, Refusal, RequestNumber, SessionId, Slot, Timestamp};

use crate::config::Config;
use crate::known_bugs;

/// All sessions of the service; part of the replicated state.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// In the order in which they may be given up.
    by_use: BTreeSet<(Use, SessionId)>,
    /// By client, with the nonce that opened each.
    by_client: BTreeMap<ClientId, Vec<(u64, SessionId)>>,
    /// Given up in these slots; repeats admitted before may still ask for outcomes until the slot has ended.
    leaving: BTreeMap<SessionId, (Slot, Session)>,
}

/// How much a session is in use; the least goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
enum Use {
    /// No command was executed in it. Sessions are named in the order of opening, so the oldest stands first.
    Opened,
    /// A command was executed at this agreed time.
    Executed(Timestamp),
}

#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Session {
    client: ClientId,
    window: u16,
    last_use: Use,
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
    /// Opens the session `fresh` for `client`, or finds the one that the same nonce opened.
    ///
    /// # Errors
    /// [`Refusal::Full`] if all sessions that might make room are in use.
    pub fn open(
        &mut self,
        client: ClientId,
        Opening { nonce, window, fresh }: Opening,
        place: Place,
        config: &Config,
    ) -> Result<SessionId, Refusal> {
        let known = self.by_client.get(&client).and_then(|all| all.iter().find(|(n, _)| *n == nonce));
        if let Some((_, session)) = known.copied() {
            return Ok(session);
        }
        self.make_room(client, place, config)?;
        let session = Session {
            client,
            window,
            last_use: Use::Opened,
            highest: RequestNumber(0),
            admitted: BTreeSet::new(),
            highest_ended: RequestNumber(0),
            ended: BTreeMap::new(),
            reply_bytes: 0,
        };
        self.sessions.insert(fresh, session);
        self.by_use.insert((Use::Opened, fresh));
        self.by_client.entry(client).or_default().push((nonce, fresh));
        Ok(fresh)
    }

    /// Judges command `number` of `client` in `session`, from numbers alone; `now` is agreed time.
    pub fn admit(
        &mut self,
        client: ClientId,
        id: SessionId,
        number: RequestNumber,
        now: Timestamp,
    ) -> Verdict {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.client == client) else {
            return Verdict::Refused(Refusal::SessionGone);
        };
        let known = if known_bugs::JUDGES_BY_WHAT_HAS_ENDED.is_on() {
            session.ended.contains_key(&number)
        } else {
            session.admitted.contains(&number)
        };
        if known && !known_bugs::RUNS_A_REPEAT.is_on() {
            return Verdict::Repeat;
        }
        if number <= floor(session.highest, session.window) {
            return Verdict::Refused(Refusal::Stale);
        }
        session.highest = session.highest.max(number);
        session.admitted.insert(number);
        let floor = floor(session.highest, session.window);
        session.admitted = session.admitted.split_off(&floor.next());
        self.by_use.remove(&(session.last_use, id));
        session.last_use = Use::Executed(now);
        self.by_use.insert((session.last_use, id));
        Verdict::Run
    }

    /// Notes what became of a command that was to run; called slot by slot, in the order of a slot's members.
    pub fn ended(&mut self, session: SessionId, number: RequestNumber, outcome: &Outcome, config: &Config) {
        let leaving = self.leaving.get_mut(&session).map(|(_, session)| session);
        if let Some(session) = self.sessions.get_mut(&session).or(leaving) {
            session.remember(number, outcome, config.session_reply_bytes());
        }
    }

    /// What became of a command that was admitted before; called as [`Sessions::ended`].
    #[must_use]
    pub fn outcome(&self, session: SessionId, number: RequestNumber) -> Outcome {
        let leaving = self.leaving.get(&session).map(|(_, session)| session);
        let session = self.sessions.get(&session).or(leaving);
        let last = known_bugs::REPEATS_THE_LAST_REPLY.is_on();
        let place = |session: &Session| if last { session.highest_ended } else { number };
        let known = session.and_then(|session| session.ended.get(&place(session)).cloned().flatten());
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

    fn make_room(&mut self, client: ClientId, place: Place, config: &Config) -> Result<(), Refusal> {
        let may_go = |(last_use, _): &(Use, SessionId)| match last_use {
            Use::Opened => true,
            Use::Executed(at) => place.now.since(*at) > config.session_idle_ms,
        };
        let own = self.by_client.get(&client).map_or(&[][..], Vec::as_slice);
        if own.len() >= config.client_sessions_max as usize {
            let own = own.iter().map(|(_, id)| (self.sessions[id].last_use, *id));
            let (_, id) = own.min().filter(may_go).ok_or(Refusal::Full)?;
            self.give_up(id, place.slot);
        }
        if self.sessions.len() >= config.sessions_max as usize {
            let (_, id) = self.by_use.first().copied().filter(may_go).ok_or(Refusal::Full)?;
            self.give_up(id, place.slot);
        }
        Ok(())
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

/// What a client asks for when it opens a session.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Chosen by the client.
    pub nonce: u64,
    /// Commands it will have in flight at most.
    pub window: u16,
    /// The session's name if it is a new one; later ones have higher names.
    pub fresh: SessionId,
}

/// Where in the log something stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its slot.
    pub slot: Slot,
    /// The slot's agreed time.
    pub now: Timestamp,
}

impl Session {
    fn remember(&mut self, number: RequestNumber, outcome: &Outcome, bytes_max: u64) {
        self.highest_ended = self.highest_ended.max(number);
        let bytes = bytes_of(outcome);
        let kept = (bytes <= bytes_max).then(|| outcome.clone());
        self.reply_bytes += kept.as_ref().map_or(0, bytes_of);
        self.ended.insert(number, kept);
        let floor = floor(self.highest_ended, self.window);
        while let Some(entry) = self.ended.first_entry().filter(|entry| *entry.key() <= floor) {
            self.reply_bytes -= entry.remove().as_ref().map_or(0, bytes_of);
        }
        // The oldest replies go until the rest fits; the one just made fits by itself.
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

/// Bytes of what an outcome carries.
pub(crate) fn bytes_of(outcome: &Outcome) -> u64 {
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
        let opening = Opening { nonce: 7, window, fresh: SessionId(100) };
        let id = sessions.open(CLIENT, opening, at(0), &Config::default()).expect("room");
        (sessions, id)
    }

    fn at(now_ms: u64) -> Place {
        Place { slot: Slot(1), now: Timestamp(now_ms) }
    }

    fn client(number: u8) -> ClientId {
        ClientId(PublicKey([number; 32]))
    }

    fn opening(nonce: u64, fresh: u64) -> Opening {
        Opening { nonce, window: 4, fresh: SessionId(fresh) }
    }

    fn admit(sessions: &mut Sessions, id: SessionId, number: u64) -> Verdict {
        sessions.admit(CLIENT, id, RequestNumber(number), Timestamp(0))
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
        assert_eq!(sessions.admit(client(2), id, RequestNumber(1), Timestamp(0)), GONE);
        assert_eq!(admit(&mut sessions, SessionId(5), 1), GONE);
    }

    #[test]
    fn opening_again_with_the_same_nonce_finds_the_session() {
        let (mut sessions, id) = with_session(4);
        let config = Config::default();
        assert_eq!(sessions.open(CLIENT, opening(7, 200), at(0), &config), Ok(id));
        assert_eq!(sessions.open(CLIENT, opening(8, 200), at(0), &config), Ok(SessionId(200)));
        assert_eq!(sessions.len(), 2);
    }

    /// Room for three sessions, two of each client; in use for 100 ms after a command.
    fn tight() -> Config {
        Config { sessions_max: 3, client_sessions_max: 2, session_idle_ms: 100, ..Config::default() }
    }

    #[test]
    fn beyond_the_limits_sessions_without_commands_go_first_and_then_those_idle_for_long() {
        let (mut sessions, first) = with_session(4);
        assert_eq!(admit(&mut sessions, first, 1), Verdict::Run);
        let second = sessions.open(CLIENT, opening(8, 101), at(0), &tight()).expect("room");
        let third = sessions.open(CLIENT, opening(9, 102), at(0), &tight()).expect("the second goes");
        assert_eq!(admit(&mut sessions, second, 1), GONE);
        assert_eq!(admit(&mut sessions, third, 1), Verdict::Run);
        let full = Err(Refusal::Full);
        assert_eq!(sessions.open(CLIENT, opening(10, 103), at(100), &tight()), full, "both are in use");
        assert!(sessions.open(client(2), opening(1, 104), at(100), &tight()).is_ok());
        assert!(sessions.open(client(3), opening(1, 105), at(100), &tight()).is_ok(), "in place of client 2");
        assert_eq!(sessions.admit(client(3), SessionId(105), RequestNumber(1), Timestamp(100)), Verdict::Run);
        assert_eq!(sessions.open(client(4), opening(1, 106), at(100), &tight()), full);
        assert!(sessions.open(client(4), opening(1, 106), at(101), &tight()).is_ok(), "the first was idle");
        assert_eq!(admit(&mut sessions, first, 2), GONE);
        assert_eq!((sessions.len(), sessions.by_use.len()), (3, 3));
    }

    #[test]
    fn old_requests_that_come_again_neither_take_room_nor_keep_it() {
        let (mut sessions, id) = with_session(4);
        assert_eq!(admit(&mut sessions, id, 5), Verdict::Run);
        // Old openings of the same client and of others, which have had their sessions long ago.
        for nonce in 20..40 {
            let _ = sessions.open(CLIENT, opening(nonce, 200 + nonce), at(50), &tight());
            let _ = sessions.open(client(2), opening(nonce, 300 + nonce), at(50), &tight());
        }
        assert_eq!(sessions.len(), 3);
        let late = Timestamp(90);
        assert_eq!(sessions.admit(CLIENT, id, RequestNumber(5), late), Verdict::Repeat);
        assert_eq!(sessions.admit(CLIENT, id, RequestNumber(1), late), STALE);
        assert_eq!(sessions.open(CLIENT, opening(7, 500), at(90), &tight()), Ok(id));
        for newcomer in [5, 6] {
            let fresh = SessionId(600 + u64::from(newcomer));
            sessions.open(client(newcomer), opening(1, fresh.0), at(90), &tight()).expect("room");
            sessions.admit(client(newcomer), fresh, RequestNumber(1), late);
        }
        assert!(sessions.open(client(7), opening(1, 700), at(101), &tight()).is_ok());
        assert_eq!(admit(&mut sessions, id, 6), GONE, "only what is executed keeps a session");
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
        assert_eq!(admit(&mut sessions, id, 4), Verdict::Run);
        sessions.ended(id, RequestNumber(4), &answer("12345678901"), &config);
        assert_eq!(sessions.outcome(id, RequestNumber(4)), Outcome::Refused(Refusal::Stale), "too large");
        assert_eq!(sessions.outcome(id, RequestNumber(3)), answer("123456"), "and costs no other");
    }

    #[test]
    fn as_many_of_the_latest_replies_are_kept_as_have_room() {
        let config = Config { session_reply_bytes_max: 10, ..Config::default() };
        let (mut sessions, id) = with_session(8);
        let reply = |bytes| Outcome::Answer(vec![1; bytes]);
        for (number, bytes) in (1..).zip([4, 4, 6, 4]) {
            assert_eq!(admit(&mut sessions, id, number), Verdict::Run);
            sessions.ended(id, RequestNumber(number), &reply(bytes), &config);
        }
        let kept = [1, 2, 3, 4].map(|number| sessions.outcome(id, RequestNumber(number)));
        let gone = Outcome::Refused(Refusal::Stale);
        assert_eq!(kept, [gone.clone(), gone, reply(6), reply(4)]);
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

    #[test]
    fn a_session_that_was_given_up_tells_outcomes_until_that_slot_has_ended() {
        let config = Config { client_sessions_max: 1, ..tight() };
        let (mut sessions, id) = with_session(4);
        assert_eq!(admit(&mut sessions, id, 1), Verdict::Run);
        let place = Place { slot: Slot(7), now: Timestamp(101) };
        assert_eq!(sessions.open(CLIENT, opening(8, 200), place, &config), Ok(SessionId(200)));
        assert_eq!(admit(&mut sessions, id, 1), GONE);
        // Slots before it end later than it is admitted; repeats in them are owed an outcome.
        sessions.ended(id, RequestNumber(1), &answer("x"), &config);
        sessions.end_slot(Slot(6));
        assert_eq!(sessions.outcome(id, RequestNumber(1)), answer("x"));
        sessions.end_slot(Slot(7));
        assert_eq!(sessions.outcome(id, RequestNumber(1)), Outcome::Refused(Refusal::Stale));
    }

    #[test]
    fn of_two_sessions_of_a_client_the_one_that_stays_is_found_by_its_nonce() {
        let (mut sessions, first) = with_session(4);
        let second = sessions.open(CLIENT, opening(8, 200), at(0), &tight()).expect("room");
        assert_eq!(admit(&mut sessions, first, 1), Verdict::Run);
        assert_eq!(sessions.open(CLIENT, opening(9, 300), at(0), &tight()), Ok(SessionId(300)));
        assert_eq!(sessions.open(CLIENT, opening(7, 400), at(0), &tight()), Ok(first));
        assert_eq!(admit(&mut sessions, second, 1), GONE, "it had no command, so it was the one to go");
    }

    #[test]
    fn replies_that_leave_the_window_make_room_for_later_ones() {
        let config = Config { session_reply_bytes_max: 4 * 6, ..Config::default() };
        let (mut sessions, id) = with_session(4);
        let reply = |number| Outcome::Answer(vec![number; 6]);
        for number in 1..=20 {
            assert_eq!(admit(&mut sessions, id, number.into()), Verdict::Run);
            sessions.ended(id, RequestNumber(number.into()), &reply(number), &config);
            for kept in number.saturating_sub(3).max(1)..=number {
                assert_eq!(sessions.outcome(id, RequestNumber(kept.into())), reply(kept));
            }
        }
        assert_eq!(sessions.outcome(id, RequestNumber(16)), Outcome::Refused(Refusal::Stale));
    }
}
