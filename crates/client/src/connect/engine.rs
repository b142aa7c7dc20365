//! The task that owns an invocation: gathers events, steps, and does what the effects say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smr_crypto::PublicKey;
use smr_wire::client::{Descriptor, EndpointCertificate, ToContact};
use smr_wire::{Epoch, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Stats;
use super::link::{Link, Said, Settings, What};
use super::tls::{ALPN_CLIENT, Expect, client_config};
use crate::config::Config;
use crate::invocation::{ContactId, Effect, Event, Invocation, Ticket};
use crate::outcome::{Certified, Failure, Unknown};
use crate::proof::ServiceProofs;

/// Events of one step at most; the rest follow in the next.
const EVENTS_MAX: usize = 512;

/// What links have said and the engine has not yet heard, at most; beyond, links read no further.
const SAID_MAX: usize = 1024;

type Done = oneshot::Sender<Result<Certified, Failure>>;

/// What a [`super::Client`] wants.
pub(super) enum Mail {
    Call { command: Vec<u8>, done: Done },
    Again { unknown: Unknown, done: Done },
    Close { done: oneshot::Sender<()> },
}

/// An invocation and everything that it moves.
pub(super) struct Engine {
    invocation: Invocation,
    began: Instant,
    timer: Option<Timestamp>,
    settings: Settings,
    book: AddressBook,
    links: BTreeMap<ContactId, Link>,
    links_made: u64,
    /// By ticket: callers of calls that are not done.
    callers: BTreeMap<Ticket, Done>,
    tickets: u64,
    /// Who waits for the end. Not empty: no more calls are taken.
    closers: Vec<oneshot::Sender<()>>,
    stats: Arc<Mutex<Stats>>,
    said: (mpsc::Sender<Said>, mpsc::Receiver<Said>),
}

/// What woke the engine.
enum Woken {
    Mail(Option<Mail>),
    Said(Said),
    Timer,
}

impl Engine {
    pub(super) fn new(
        invocation: Invocation,
        descriptor: Descriptor,
        config: &Config,
        proofs: Arc<ServiceProofs>,
        stats: Arc<Mutex<Stats>>,
    ) -> Engine {
        let settings = Settings {
            service: descriptor.service,
            proofs,
            accepts: descriptor.proofs,
            tls: client_config(None, Expect::Any, ALPN_CLIENT),
            connect: Duration::from_millis(config.connect_ms),
            frame_bytes_max: config.frame_bytes_max as usize,
        };
        Engine {
            invocation,
            began: Instant::now(),
            timer: None,
            settings,
            book: AddressBook::new(descriptor.endpoints),
            links: BTreeMap::new(),
            links_made: 0,
            callers: BTreeMap::new(),
            tickets: 0,
            closers: Vec::new(),
            stats,
            said: mpsc::channel(SAID_MAX),
        }
    }

    /// Runs until closed, or until every client of it is gone.
    pub(super) async fn run(mut self, mut mailbox: mpsc::Receiver<Mail>) {
        self.step(vec![Event::Contacts(self.book.contacts()), Event::Start]);
        while self.closers.is_empty() || !self.invocation.is_idle() {
            let woken = tokio::select! {
                mail = mailbox.recv() => Woken::Mail(mail),
                Some(said) = self.said.1.recv() => Woken::Said(said),
                () = sleep_until(self.began, self.timer) => Woken::Timer,
            };
            let mut events = Vec::new();
            match woken {
                // Every client is gone, so nobody waits for anything.
                Woken::Mail(None) => break,
                Woken::Mail(Some(mail)) => self.receive(mail, &mut events),
                Woken::Said(said) => self.hear(said, &mut events),
                Woken::Timer => {
                    self.timer = None;
                    events.push(Event::Timer);
                }
            }
            // Callers that the last replies woke get to speak, so that their commands share a request.
            tokio::task::yield_now().await;
            self.gather(&mut mailbox, &mut events);
            self.step(events);
        }
        mailbox.close();
        self.links.clear();
        while let Ok(mail) = mailbox.try_recv() {
            match mail {
                Mail::Close { done } => self.closers.push(done),
                refused => refuse(refused),
            }
        }
        for closer in self.closers {
            // Whoever no longer waits need not know.
            let _gone = closer.send(());
        }
    }

    /// Takes what is there already.
    fn gather(&mut self, mailbox: &mut mpsc::Receiver<Mail>, events: &mut Vec<Event>) {
        while events.len() < EVENTS_MAX
            && let Ok(said) = self.said.1.try_recv()
        {
            self.hear(said, events);
        }
        while events.len() < EVENTS_MAX
            && let Ok(mail) = mailbox.try_recv()
        {
            self.receive(mail, events);
        }
    }

    fn receive(&mut self, mail: Mail, events: &mut Vec<Event>) {
        match mail {
            Mail::Close { done } => self.closers.push(done),
            refused if !self.closers.is_empty() => refuse(refused),
            Mail::Call { command, done } => events.push(Event::Call { ticket: self.ticket(done), command }),
            Mail::Again { unknown, done } => events.push(Event::Again { ticket: self.ticket(done), unknown }),
        }
    }

    fn ticket(&mut self, done: Done) -> Ticket {
        self.tickets += 1;
        self.callers.insert(Ticket(self.tickets), done);
        Ticket(self.tickets)
    }

    fn hear(&mut self, said: Said, events: &mut Vec<Event>) {
        let contact = said.contact;
        if self.links.get(&contact).is_none_or(|link| link.id != said.link) {
            return;
        }
        match said.what {
            What::Frame(frame) => events.push(Event::Frame { contact, frame: *frame }),
            What::Connected(certificate, key) => {
                if self.book.learn(contact, key, &certificate) {
                    events.push(Event::Contacts(self.book.contacts()));
                }
                events.push(Event::Connected(contact, certificate.proof(&self.settings.accepts)));
            }
            What::Ended(why) => {
                self.links.remove(&contact);
                events.push(Event::Disconnected { contact, why });
            }
            What::Estranged(why) => {
                self.links.remove(&contact);
                events.push(Event::Estranged { contact, why });
            }
        }
    }

    /// Steps, and does what follows, until nothing does.
    fn step(&mut self, events: Vec<Event>) {
        let mut events = events;
        while !events.is_empty() {
            let mut effects = Vec::new();
            let clock = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.invocation.step(Timestamp(clock), std::mem::take(&mut events), &mut effects);
            for effect in effects {
                self.act(effect, &mut events);
            }
        }
    }

    fn act(&mut self, effect: Effect, events: &mut Vec<Event>) {
        match effect {
            Effect::Connect(contact) => self.connect(contact, events),
            Effect::Disconnect(contact) => drop(self.links.remove(&contact)),
            Effect::Send { contact, frame } => self.send(contact, frame, events),
            Effect::Arm { at } => self.timer = Some(at),
            Effect::Done { ticket, result } => {
                if let Some(done) = self.callers.remove(&ticket) {
                    // A caller that gave up does not want to know.
                    let _gone = done.send(result);
                }
            }
            Effect::Report(report) => {
                self.stats.lock().unwrap_or_else(PoisonError::into_inner).count(report);
            }
        }
    }

    fn connect(&mut self, contact: ContactId, events: &mut Vec<Event>) {
        let Some(address) = self.book.address(contact) else {
            events.push(Event::Disconnected { contact, why: "no longer a contact".to_string() });
            return;
        };
        self.links_made += 1;
        let (settings, said) = (self.settings.clone(), self.said.0.clone());
        let link = Link::start(settings, contact, self.links_made, address, said);
        self.links.insert(contact, link);
    }

    fn send(&mut self, contact: ContactId, frame: ToContact, events: &mut Vec<Event>) {
        if self.links.get(&contact).is_none_or(|link| !link.send(frame)) {
            self.links.remove(&contact);
            events
                .push(Event::Disconnected { contact, why: "the contact takes no more requests".to_string() });
        }
    }
}

fn refuse(mail: Mail) {
    let (done, failure) = match mail {
        Mail::Call { done, .. } => (done, Failure::Closed),
        Mail::Again { unknown, done } => (done, Failure::Unknown(Box::new(unknown))),
        Mail::Close { .. } => return,
    };
    // A caller that gave up does not want to know.
    let _gone = done.send(Err(failure));
}

/// Sleeps until `at` milliseconds after `began`; for ever if no time is given.
async fn sleep_until(began: Instant, at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep_until(began + Duration::from_millis(at.0)).await,
        None => std::future::pending().await,
    }
}

/// Addresses of the service: those of the descriptor, and those that the newest certificate adds.
struct AddressBook {
    given: Vec<String>,
    certified: Vec<String>,
    /// Of which agreed time the certificate is.
    newest: (Epoch, Timestamp),
    /// Names of the addresses in use. A name is never given to another address.
    names: BTreeMap<String, ContactId>,
    /// Names given so far.
    named: u32,
    /// Channel keys found at given addresses.
    keys: BTreeMap<ContactId, PublicKey>,
}

impl AddressBook {
    fn new(given: Vec<String>) -> AddressBook {
        let mut book = AddressBook {
            given,
            certified: Vec::new(),
            newest: (Epoch(0), Timestamp(0)),
            names: BTreeMap::new(),
            named: 0,
            keys: BTreeMap::new(),
        };
        book.name_all();
        book
    }

    /// The contacts, given ones first.
    fn contacts(&self) -> Vec<ContactId> {
        let all = self.given.iter().chain(&self.certified);
        all.filter_map(|address| self.names.get(address).copied()).collect()
    }

    fn address(&self, contact: ContactId) -> Option<String> {
        let all = self.given.iter().chain(&self.certified);
        all.into_iter().find(|address| self.names.get(*address) == Some(&contact)).cloned()
    }

    /// Takes the addresses of a certificate that was checked; whether the contacts have changed.
    fn learn(&mut self, contact: ContactId, key: PublicKey, certificate: &EndpointCertificate) -> bool {
        let endpoints = &certificate.endpoints;
        let is_known_key = self.keys.insert(contact, key) == Some(key);
        if (endpoints.epoch, endpoints.issued) < self.newest
            || (is_known_key && (endpoints.epoch, endpoints.issued) == self.newest)
        {
            return false;
        }
        self.newest = (endpoints.epoch, endpoints.issued);
        let before = self.contacts();
        // A contact that answers at a given address needs no second entry under its certified one: the given one
        // is known to be reachable from here.
        let given = |key: &PublicKey| {
            let named = self.given.iter().filter_map(|address| self.names.get(address));
            named.filter_map(|name| self.keys.get(name)).any(|at| at == key)
        };
        let fresh = endpoints.contacts.iter().filter(|c| !self.given.contains(&c.address) && !given(&c.key));
        self.certified = fresh.map(|c| c.address.clone()).collect();
        self.certified.sort_unstable();
        self.certified.dedup();
        self.name_all();
        self.contacts() != before
    }

    /// Names every address in use that has no name, and forgets those that fell out of use.
    fn name_all(&mut self) {
        let used: Vec<&String> = self.given.iter().chain(&self.certified).collect();
        self.names.retain(|address, _| used.contains(&address));
        for address in used {
            if !self.names.contains_key(address) {
                self.names.insert(address.clone(), ContactId(self.named));
                self.named += 1;
            }
        }
        self.keys.retain(|name, _| self.names.values().any(|used| used == name));
    }
}
