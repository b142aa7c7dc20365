//! One client identity as a value: events in, effects out. It opens a session, numbers commands, signs those that
//! are ready together as one request, asks one contact after the other until the service's signature answers, and
//! gives up at the deadline with the truth: not sent, or not known.
//!
//! ```text
//!   Call -> waiting -> numbered, within the window -> exchange (signed request) -> contact -> Done
//!              ^ session open?                           | silence, hint, lie, break: next contact
//! ```
//!
//! Nothing a contact says settles a command unless the service signed it. The window keeps every number that is
//! still asked above the service's own floor, so an answer waits for the client as long as the client for it.

mod contacts;
mod exchange;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use smr_crypto::IdentityKey;
use smr_wire::client::{About, FromContact, ProofKind, REQUEST_COMMANDS_MAX, ToContact};
use smr_wire::{
    Call, ClientId, Command, Hint, Outcome, Refusal, Reply, ReplyProof, RequestNumber, ServiceId, SessionId,
    Slot, Timestamp,
};

use self::contacts::{Choice, Contacts, Link};
use self::exchange::{Exchange, Held};
use crate::chance::Chance;
use crate::config::{BadConfig, Config};
use crate::known_bugs;
use crate::outcome::{Certified, Failure, Lie, Trouble, Unknown};
use crate::proof::ProofCheck;

/// The session and all calls of one client identity with one service.
pub struct Invocation {
    config: Config,
    service: ServiceId,
    key: IdentityKey,
    client: ClientId,
    proofs: Arc<dyn ProofCheck>,
    chance: Chance,
    contacts: Contacts,
    session: Session,
    /// Not numbered yet, oldest first. At most `calls_waiting_max`, and `waiting_bytes_max` bytes.
    waiting: VecDeque<Waiting>,
    waiting_bytes: u64,
    /// Numbered, without an outcome. At most the window, one opening, and `calls_waiting_max` asked again.
    asked: BTreeMap<About, Asked>,
    /// When callers give up, for everything in `asked` that has one.
    deadlines: BTreeSet<(Timestamp, About)>,
    /// By order of making; each has something in `asked`.
    exchanges: BTreeMap<u64, Exchange>,
    exchanges_made: u64,
    /// What replies to first sendings take, smoothed, in ms.
    usual_ms: Option<u64>,
    last: Option<Trouble>,
    armed: Option<Timestamp>,
}

impl Invocation {
    /// The client with `key` of `service`, whose replies `proofs` judges. `seed` is the source of all chance here;
    /// unlike any other that was ever used with this key.
    ///
    /// # Errors
    /// A setting outside its limits.
    pub fn new(
        config: Config,
        service: ServiceId,
        key: IdentityKey,
        proofs: Arc<dyn ProofCheck>,
        seed: &[u8; 32],
    ) -> Result<Invocation, BadConfig> {
        config.validate()?;
        Ok(Invocation {
            client: ClientId(key.public()),
            chance: Chance::new(seed),
            contacts: Contacts::new(),
            session: Session::None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            asked: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            exchanges: BTreeMap::new(),
            exchanges_made: 0,
            usual_ms: None,
            last: None,
            armed: None,
            config,
            service,
            key,
            proofs,
        })
    }

    /// Takes the events of one moment and appends what follows. Commands that come in one step travel together.
    /// `clock` is any clock in milliseconds that does not run backwards.
    pub fn step(
        &mut self,
        clock: Timestamp,
        events: impl IntoIterator<Item = Event>,
        effects: &mut Vec<Effect>,
    ) {
        for event in events {
            match event {
                Event::Start => self.open_session(),
                Event::Call { ticket, command } => self.call(clock, ticket, command, effects),
                Event::Again { ticket, unknown } => self.again(clock, ticket, unknown, effects),
                Event::Contacts(ids) => self.set_contacts(&ids, effects),
                Event::Connected(contact, proof) => self.connected(clock, contact, proof, effects),
                Event::Disconnected { contact, why } => self.disconnected(clock, contact, why, effects),
                Event::Estranged { contact, why } => self.estranged(clock, contact, why, effects),
                Event::Frame { contact, frame } => self.frame(clock, contact, frame, effects),
                Event::Timer => self.armed = None,
            }
        }
        self.give_up_late(clock, effects);
        self.give_up_among_strangers(effects);
        self.number_waiting();
        self.go_on(clock, effects);
        self.arm(effects);
    }

    /// Who this is.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// Whether no caller waits for anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.deadlines.is_empty()
    }
}

/// A caller's name for its call, different for each that is not done yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// The edge's name for an address of the service; never given to another address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ContactId(pub u32);

/// What may happen to a client.
#[derive(Clone, Debug)]
pub enum Event {
    /// It begins. Opens a session before the first call needs it.
    Start,
    /// A caller wants this executed, once at most.
    Call {
        /// Its name for this call.
        ticket: Ticket,
        /// What the application gets.
        command: Vec<u8>,
    },
    /// A caller asks again for an outcome that was not known.
    Again {
        /// Its name for this call.
        ticket: Ticket,
        /// What [`Failure::Unknown`] gave.
        unknown: Unknown,
    },
    /// These are the contacts now.
    Contacts(Vec<ContactId>),
    /// A channel that was asked for stands, and the contact proved to be the service's. What its replies must be shown
    /// with at least is [`smr_wire::EndpointCertificate::proof`].
    Connected(ContactId, ProofKind),
    /// A channel broke, or could not be made.
    Disconnected {
        /// Whose.
        contact: ContactId,
        /// Why, for people.
        why: String,
    },
    /// As [`Event::Disconnected`]: what answers there is not this service, as the client knows it.
    Estranged {
        /// Whose.
        contact: ContactId,
        /// How that shows, for people.
        why: String,
    },
    /// A contact said something.
    Frame {
        /// Who.
        contact: ContactId,
        /// What.
        frame: FromContact,
    },
    /// The time of the last [`Effect::Arm`] has come.
    Timer,
}

/// What a client wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make a channel, then say [`Event::Connected`] or [`Event::Disconnected`].
    Connect(ContactId),
    /// Give the channel up. Nothing need be said.
    Disconnect(ContactId),
    /// Send over a channel that stands.
    Send {
        /// To whom.
        contact: ContactId,
        /// What.
        frame: ToContact,
    },
    /// Say [`Event::Timer`] at this time instead of at any earlier named.
    Arm {
        /// By the clock of the steps.
        at: Timestamp,
    },
    /// A call came to its end.
    Done {
        /// Which.
        ticket: Ticket,
        /// How.
        result: Result<Certified, Failure>,
    },
    /// For whoever watches; calls for nothing.
    Report(Report),
}

/// What is worth knowing about a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// A session is open.
    Opened(SessionId),
    /// The service gave the session up.
    SessionGone(SessionId),
    /// A request goes to yet another contact, or to the same once more.
    Resent {
        /// To whom.
        contact: ContactId,
        /// How often it was sent before.
        before: u32,
    },
    /// A contact remarked something.
    Hint {
        /// Who.
        contact: ContactId,
        /// What.
        hint: Hint,
    },
    /// A contact lied and is avoided for a while.
    Lie {
        /// Who.
        contact: ContactId,
        /// How.
        lie: Lie,
    },
    /// A channel broke.
    Lost {
        /// Whose.
        contact: ContactId,
        /// Why, for people.
        why: String,
    },
    /// A contact said something of no use: a second reply, or a remark on what is settled.
    Surplus(ContactId),
}

#[derive(Clone, Copy, Debug)]
enum Session {
    /// None, and nobody asked for one.
    None,
    /// Asked for.
    Opening,
    /// Open; the next command gets this number.
    Open { id: SessionId, next: RequestNumber },
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    command: Vec<u8>,
    deadline: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    by: Asker,
    exchange: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    /// This client, to open a session.
    Itself,
    /// A caller, for the first time.
    Caller { ticket: Ticket, deadline: Timestamp },
    /// A caller that asks again: whatever happens now, the command may have been executed before.
    Again { ticket: Ticket, deadline: Timestamp },
}

/// Calls come in.
impl Invocation {
    fn call(&mut self, clock: Timestamp, ticket: Ticket, command: Vec<u8>, effects: &mut Vec<Effect>) {
        let bytes_max = exchange::command_bytes_max(&self.config);
        let bytes = command.len() as u64;
        let failure = if command.len() > bytes_max {
            Failure::TooLarge { bytes, bytes_max: bytes_max as u64 }
        } else if self.waiting.len() >= self.config.calls_waiting_max as usize
            || self.waiting_bytes + bytes > u64::from(self.config.waiting_bytes_max)
        {
            let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
            Failure::Overloaded { waiting, bytes: self.waiting_bytes }
        } else {
            self.waiting_bytes += bytes;
            let deadline = clock.plus_ms(self.config.deadline_ms);
            self.waiting.push_back(Waiting { ticket, command, deadline });
            return;
        };
        effects.push(Effect::Done { ticket, result: Err(failure) });
    }

    fn again(&mut self, clock: Timestamp, ticket: Ticket, unknown: Unknown, effects: &mut Vec<Effect>) {
        let about = About { session: unknown.session, number: unknown.number };
        let sensible = about.session > SessionId(0) && about.number > RequestNumber(0);
        let fits = unknown.command.len() <= exchange::command_bytes_max(&self.config);
        let crowded =
            self.asked.len() > usize::from(self.config.window) + self.config.calls_waiting_max as usize;
        if !sensible || !fits || crowded || self.asked.contains_key(&about) {
            effects.push(Effect::Done { ticket, result: Err(Failure::Unknown(Box::new(unknown))) });
            return;
        }
        // A number that an earlier run of this client gave out must not be given out once more.
        if let Session::Open { id, next } = &mut self.session
            && *id == about.session
        {
            *next = (*next).max(about.number.next());
        }
        let deadline = clock.plus_ms(self.config.deadline_ms);
        let command = Command { number: about.number, bytes: unknown.command };
        let exchange = Exchange::of_commands(about.session, vec![command]);
        self.ask(exchange, [(about, Asker::Again { ticket, deadline })]);
    }

    fn open_session(&mut self) {
        if let Session::None = self.session {
            self.session = Session::Opening;
            let nonce = self.chance.number();
            let exchange = Exchange::new(Call::Open { nonce, window: self.config.window }, 1);
            self.ask(exchange, [(About::opening(nonce), Asker::Itself)]);
        }
    }

    /// Turns what waits into exchanges, as far as the session and its window allow.
    fn number_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.open_session();
        while let Session::Open { id, next } = self.session {
            let end = self.window_end(id, next);
            let (mut commands, mut askers, mut room) = (Vec::new(), Vec::new(), exchange::room(&self.config));
            let mut number = next;
            while number < end && commands.len() < REQUEST_COMMANDS_MAX {
                let Some(call) = self.waiting.pop_front_if(|call| exchange::cost(&call.command) <= room)
                else {
                    break;
                };
                room -= exchange::cost(&call.command);
                self.waiting_bytes -= call.command.len() as u64;
                let asker = Asker::Caller { ticket: call.ticket, deadline: call.deadline };
                askers.push((About { session: id, number }, asker));
                commands.push(Command { number, bytes: call.command });
                number = number.next();
            }
            if commands.is_empty() {
                return;
            }
            self.session = Session::Open { id, next: number };
            self.ask(Exchange::of_commands(id, commands), askers);
        }
    }

    /// The first number that may not be used yet: the service forgets what lies a window below the highest.
    fn window_end(&self, id: SessionId, next: RequestNumber) -> RequestNumber {
        let from = About { session: id, number: RequestNumber(0) };
        let to = About { session: id, number: RequestNumber(u64::MAX) };
        let first = |asked: &Asked| matches!(asked.by, Asker::Caller { .. });
        let oldest =
            self.asked.range(from..=to).find(|(_, asked)| first(asked)).map(|(about, _)| about.number);
        RequestNumber(oldest.unwrap_or(next).0.saturating_add(u64::from(self.config.window)))
    }

    fn ask(&mut self, exchange: Exchange, askers: impl IntoIterator<Item = (About, Asker)>) {
        self.exchanges_made += 1;
        for (about, by) in askers {
            if let Asker::Caller { deadline, .. } | Asker::Again { deadline, .. } = by {
                self.deadlines.insert((deadline, about));
            }
            self.asked.insert(about, Asked { by, exchange: self.exchanges_made });
        }
        self.exchanges.insert(self.exchanges_made, exchange);
    }
}

/// Contacts come, go and speak.
impl Invocation {
    fn set_contacts(&mut self, ids: &[ContactId], effects: &mut Vec<Effect>) {
        let gone = self.contacts.set(ids, &self.config, &mut self.chance);
        for exchange in self.exchanges.values_mut() {
            let lost = exchange.contact.is_some_and(|contact| gone.contains(&contact));
            if lost || exchange.held == Held::No {
                (exchange.held, exchange.due) = (Held::No, Timestamp(0));
            }
        }
        effects.extend(gone.into_iter().map(Effect::Disconnect));
    }

    fn connected(
        &mut self,
        clock: Timestamp,
        contact: ContactId,
        proof: ProofKind,
        effects: &mut Vec<Effect>,
    ) {
        match self.contacts.link(contact) {
            Link::Connecting => self.contacts.connected(clock, contact, proof),
            Link::Up => return,
            Link::Down => {
                effects.push(Effect::Disconnect(contact));
                return;
            }
        }
        // Whatever waits for some channel takes the first that stands.
        let soon = |exchange: &Exchange| exchange.held == Held::Soon;
        let ids: Vec<u64> = self.exchanges.iter().filter(|(_, e)| soon(e)).map(|(id, _)| *id).collect();
        for id in ids {
            self.send(clock, id, contact, effects);
        }
    }

    fn disconnected(&mut self, clock: Timestamp, contact: ContactId, why: String, effects: &mut Vec<Effect>) {
        if self.contacts.link(contact) == Link::Down {
            return;
        }
        self.last = Some(Trouble::Channel(why.clone()));
        self.contacts.broke(clock, contact, &self.config, &mut self.chance);
        self.take_back(clock, contact);
        effects.push(Effect::Report(Report::Lost { contact, why }));
    }

    /// A contact may lie about whose it is as about anything else, so it counts as a broken one as long as there is
    /// any other.
    fn estranged(&mut self, clock: Timestamp, contact: ContactId, why: String, effects: &mut Vec<Effect>) {
        self.contacts.estranged(contact);
        self.disconnected(clock, contact, why, effects);
    }

    /// What `contact` has, or was to have, goes to another at once.
    fn take_back(&mut self, clock: Timestamp, contact: ContactId) {
        for exchange in self.exchanges.values_mut() {
            if exchange.contact == Some(contact) && exchange.held != Held::No {
                (exchange.held, exchange.due) = (Held::No, clock);
            }
        }
    }

    fn frame(&mut self, clock: Timestamp, contact: ContactId, frame: FromContact, effects: &mut Vec<Effect>) {
        // A liar whose channel was given up may have more on the way; it is not worth a verification.
        if self.contacts.link(contact) != Link::Up {
            effects.push(Effect::Report(Report::Surplus(contact)));
            return;
        }
        self.contacts.heard(clock, contact);
        match frame {
            FromContact::Reply(reply) => self.reply(clock, contact, reply, effects),
            FromContact::Hint { about, hint } => self.hint(clock, contact, about, hint, effects),
            FromContact::Welcome { .. } => effects.push(Effect::Report(Report::Surplus(contact))),
        }
    }

    fn reply(&mut self, clock: Timestamp, contact: ContactId, reply: Reply, effects: &mut Vec<Effect>) {
        let Some(asked) = self.asked.get(&reply.about).copied() else {
            if self.was_never_asked(reply.about) {
                self.lie(clock, contact, Lie::NeverAsked, effects);
            } else {
                effects.push(Effect::Report(Report::Surplus(contact)));
            }
            return;
        };
        match self.judge(contact, &reply, asked) {
            Ok(slot) => {
                self.contacts.was_good(contact);
                self.last = None;
                self.learn_pace(clock, contact, asked.exchange);
                self.settle(reply.about, asked);
                self.conclude(reply.about, reply.outcome, slot, asked, effects);
            }
            Err(lie) => self.lie(clock, contact, lie, effects),
        }
    }

    fn was_never_asked(&self, about: About) -> bool {
        matches!(self.session, Session::Open { id, next } if id == about.session && about.number >= next)
    }

    fn judge(&self, contact: ContactId, reply: &Reply, asked: Asked) -> Result<Slot, Lie> {
        match &reply.proof {
            ReplyProof::Channel { .. } if self.contacts.is_believed(contact) => {}
            ReplyProof::Channel { .. } => return Err(Lie::Unproven),
            ReplyProof::Certified { .. } => {
                let (statement, signature) = reply.statement(&self.service, &self.client).ok_or(Lie::Path)?;
                if !known_bugs::TRUSTS_ITS_CONTACT.is_on() && !self.proofs.verify(&statement, &signature) {
                    return Err(Lie::Signature);
                }
            }
        }
        let is_fit = match (&reply.outcome, asked.by) {
            (Outcome::Opened(_), Asker::Itself) => true,
            (Outcome::Opened(_), _) | (Outcome::Answer(_), Asker::Itself) => false,
            (Outcome::Answer(_) | Outcome::Refused(_) | Outcome::Fault(_), _) => true,
        };
        if is_fit { Ok(reply.proof.slot()) } else { Err(Lie::Kind) }
    }

    /// Only what was sent once tells how long a reply takes; with two sendings, which one was answered is not known.
    fn learn_pace(&mut self, clock: Timestamp, contact: ContactId, exchange: u64) {
        let Some(exchange) = self.exchanges.get(&exchange) else {
            return;
        };
        if exchange.sends == 1 && exchange.contact == Some(contact) {
            let sample = clock.since(exchange.sent_at);
            let usual = self.usual_ms.unwrap_or(sample);
            self.usual_ms = Some((usual * 7 + sample) / 8);
        }
    }

    fn conclude(
        &mut self,
        about: About,
        outcome: Outcome,
        slot: Slot,
        asked: Asked,
        effects: &mut Vec<Effect>,
    ) {
        let number = about.number;
        let (Asker::Caller { ticket, .. } | Asker::Again { ticket, .. }) = asked.by else {
            self.conclude_opening(outcome, effects);
            return;
        };
        let result = match outcome {
            Outcome::Answer(outcome) => Ok(Certified { outcome, slot, number }),
            Outcome::Fault(text) => Err(Failure::Fault(text)),
            Outcome::Refused(refusal) => {
                self.note_refusal(about.session, refusal, effects);
                Err(Failure::Refused(refusal))
            }
            Outcome::Opened(_) => unreachable!("judged to be a lie"),
        };
        effects.push(Effect::Done { ticket, result });
    }

    fn conclude_opening(&mut self, outcome: Outcome, effects: &mut Vec<Effect>) {
        let failure = match outcome {
            Outcome::Opened(id) => {
                self.session = Session::Open { id, next: RequestNumber(1) };
                effects.push(Effect::Report(Report::Opened(id)));
                return;
            }
            Outcome::Refused(refusal) => Failure::Refused(refusal),
            Outcome::Fault(text) => Failure::Fault(text),
            Outcome::Answer(_) => unreachable!("judged to be a lie"),
        };
        // Without a session nothing that waits can be asked, and the service has said so under its signature.
        self.session = Session::None;
        self.waiting_bytes = 0;
        for call in std::mem::take(&mut self.waiting) {
            effects.push(Effect::Done { ticket: call.ticket, result: Err(failure.clone()) });
        }
    }

    /// Later commands need a new session. Those in flight learn their own fate from the service: some may have
    /// been answered before the session went.
    fn note_refusal(&mut self, session: SessionId, refusal: Refusal, effects: &mut Vec<Effect>) {
        if refusal == Refusal::SessionGone
            && matches!(self.session, Session::Open { id, .. } if id == session)
        {
            self.session = Session::None;
            effects.push(Effect::Report(Report::SessionGone(session)));
        }
    }

    fn lie(&mut self, clock: Timestamp, contact: ContactId, lie: Lie, effects: &mut Vec<Effect>) {
        self.last = Some(Trouble::Lie(lie));
        self.contacts.lied(clock, contact, &self.config);
        self.take_back(clock, contact);
        effects.push(Effect::Report(Report::Lie { contact, lie }));
        effects.push(Effect::Disconnect(contact));
    }

    fn hint(
        &mut self,
        clock: Timestamp,
        contact: ContactId,
        about: Option<About>,
        hint: Hint,
        effects: &mut Vec<Effect>,
    ) {
        let only = about.map(|about| self.asked.get(&about).map(|asked| asked.exchange));
        let (config, chance) = (&self.config, &mut self.chance);
        let mut is_of_use = false;
        for (id, exchange) in &mut self.exchanges {
            let is_meant = only.is_none_or(|only| only == Some(*id));
            if is_meant && exchange.contact == Some(contact) && exchange.held == Held::Yes {
                let pause = exchange.pause_ms(config, chance);
                exchange.held = Held::Hinted;
                exchange.due = exchange.due.min(clock.plus_ms(pause));
                is_of_use = true;
            }
        }
        if is_of_use {
            self.contacts.demote(clock, contact);
            self.last = Some(Trouble::Hint(hint.clone()));
            effects.push(Effect::Report(Report::Hint { contact, hint }));
        } else {
            effects.push(Effect::Report(Report::Surplus(contact)));
        }
    }
}

/// Time passes.
impl Invocation {
    fn give_up_late(&mut self, clock: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(call) = self.waiting.pop_front_if(|call| call.deadline <= clock) {
            self.waiting_bytes -= call.command.len() as u64;
            let result = Err(Failure::Unreachable { last: self.last.clone() });
            effects.push(Effect::Done { ticket: call.ticket, result });
        }
        while let Some((_, about)) = self.deadlines.first().copied().filter(|(at, _)| *at <= clock) {
            let asked = self.asked.get(&about).copied();
            let asked = asked.expect("a deadline stands and falls with its entry in `asked`");
            let left = self.exchanges.get(&asked.exchange).is_some_and(|exchange| exchange.left);
            let command = self.settle(about, asked).map_or(Vec::new(), |command| command.bytes);
            let (About { session, number }, last) = (about, self.last.clone());
            let unknown =
                || Failure::Unknown(Box::new(Unknown { session, number, command, last: last.clone() }));
            let (ticket, failure) = match asked.by {
                Asker::Itself => unreachable!("an opening has no deadline"),
                Asker::Caller { ticket, .. } if !left => (ticket, Failure::Unreachable { last }),
                Asker::Caller { ticket, .. } | Asker::Again { ticket, .. } => (ticket, unknown()),
            };
            effects.push(Effect::Done { ticket, result: Err(failure) });
        }
    }

    /// If whatever answers is not the service, at most contacts, commands that have no number yet need not wait for
    /// their deadline. Contacts are tried on meanwhile: the opening of the session has no deadline.
    fn give_up_among_strangers(&mut self, effects: &mut Vec<Effect>) {
        if !self.contacts.are_mostly_strangers() {
            return;
        }
        self.waiting_bytes = 0;
        for call in self.waiting.drain(..) {
            let result = Err(Failure::Strangers { last: self.last.clone() });
            effects.push(Effect::Done { ticket: call.ticket, result });
        }
    }

    /// Stops asking for `about`. The command comes back if there was one.
    fn settle(&mut self, about: About, asked: Asked) -> Option<Command> {
        self.asked.remove(&about);
        if let Asker::Caller { deadline, .. } | Asker::Again { deadline, .. } = asked.by {
            self.deadlines.remove(&(deadline, about));
        }
        let exchange = self.exchanges.get_mut(&asked.exchange)?;
        let command = exchange.settle(about);
        if exchange.open == 0 {
            self.exchanges.remove(&asked.exchange);
        }
        command
    }

    /// Hands every exchange whose time has come to a contact.
    fn go_on(&mut self, clock: Timestamp, effects: &mut Vec<Effect>) {
        let due = |exchange: &&Exchange| exchange.due <= clock;
        let ids: Vec<u64> = self.exchanges.iter().filter(|(_, e)| due(e)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(exchange) = self.exchanges.get(&id).filter(due) else {
                continue;
            };
            let last = exchange.contact;
            if let (Some(contact), Held::Soon | Held::Yes) = (last, exchange.held) {
                self.silent(clock, contact, effects);
            }
            match self.contacts.choose(clock, last) {
                Choice::Later(at) => self.leave(id, at),
                Choice::Ask(contact) => self.hand_over(clock, id, contact, effects),
            }
        }
    }

    fn silent(&mut self, clock: Timestamp, contact: ContactId, effects: &mut Vec<Effect>) {
        self.last = Some(Trouble::Silence);
        self.contacts.demote(clock, contact);
        if self.contacts.link(contact) == Link::Up
            && self.contacts.silent_ms(clock, contact) >= self.config.silence_ms
        {
            // The other end may be long gone without this one having heard; only a new channel can tell.
            self.contacts.broke(clock, contact, &self.config, &mut self.chance);
            self.take_back(clock, contact);
            effects.push(Effect::Disconnect(contact));
        }
    }

    fn leave(&mut self, id: u64, until: Timestamp) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            (exchange.held, exchange.due) = (Held::No, until);
        }
    }

    fn hand_over(&mut self, clock: Timestamp, id: u64, contact: ContactId, effects: &mut Vec<Effect>) {
        let link = self.contacts.link(contact);
        if link == Link::Up {
            self.send(clock, id, contact, effects);
            return;
        }
        if link == Link::Down {
            self.contacts.connecting(contact);
            effects.push(Effect::Connect(contact));
        }
        let usual = self.usual_ms.unwrap_or(0);
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        exchange.contact = Some(contact);
        exchange.held = Held::Soon;
        exchange.due = clock.plus_ms(exchange.patience_ms(usual, &self.config, &mut self.chance));
    }

    fn send(&mut self, clock: Timestamp, id: u64, contact: ContactId, effects: &mut Vec<Effect>) {
        let usual = self.usual_ms.unwrap_or(0);
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if exchange.sends > 0 {
            effects.push(Effect::Report(Report::Resent { contact, before: exchange.sends }));
        }
        exchange.contact = Some(contact);
        let request = exchange.send(&self.key, self.service, clock);
        exchange.due = clock.plus_ms(exchange.patience_ms(usual, &self.config, &mut self.chance));
        effects.push(Effect::Send { contact, frame: ToContact::Request(request) });
    }

    /// Keeps the timer at or before the next thing to do; one that fires early is simply armed again.
    fn arm(&mut self, effects: &mut Vec<Effect>) {
        let exchanges = self.exchanges.values().map(|exchange| exchange.due);
        let waiting = self.waiting.front().map(|call| call.deadline);
        let asked = self.deadlines.first().map(|(at, _)| *at);
        let next = exchanges.chain(waiting).chain(asked).min().filter(|at| *at < Timestamp(u64::MAX));
        if let Some(at) = next
            && self.armed.is_none_or(|armed| at < armed)
        {
            self.armed = Some(at);
            effects.push(Effect::Arm { at });
        }
    }
}
