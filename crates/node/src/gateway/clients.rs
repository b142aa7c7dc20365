//! Who is connected, and who waits for which reply.
//!
//! The core knows clients, not sockets: every client that has spoken has one [`ConnectionId`] there, whichever
//! sockets it speaks on. So what the core says about a command reaches everyone who asked for it, and somebody who
//! repeats another's request cannot take the reply away from it.
//!
//! ```text
//!   socket --\                        /-- askers of command 7: socket, socket
//!   socket ---> client (ConnectionId) --- askers of command 8: socket
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smr_replica::ConnectionId;
use smr_wire::client::About;
use smr_wire::{ClientId, FromContact, Hint, Reply};
use tokio::time::Instant;

use super::weight;
use crate::handshakes::network;
use crate::limits::Limits;
use crate::outbox::{Outbox, Put};

/// The open sockets of clients, and what they wait for.
#[derive(Default)]
pub(crate) struct Clients(Mutex<Table>);

/// A client's socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct SocketId(u64);

#[derive(Default)]
struct Table {
    sockets: BTreeMap<SocketId, Socket>,
    clients: BTreeMap<ClientId, Client>,
    /// By the core's name for it.
    named: BTreeMap<ConnectionId, ClientId>,
    /// Sockets by address; no entry is zero.
    addresses: BTreeMap<IpAddr, usize>,
    /// Names given to sockets and clients so far.
    names: u64,
}

struct Socket {
    outbox: Arc<Outbox<FromContact>>,
    /// Commands without a reply. Limited by `client_in_flight_max`.
    in_flight: BTreeMap<Key, Asked>,
    /// Clients whose requests came here. Limited by `client_identities_max`.
    speaks_for: BTreeSet<ClientId>,
    address: IpAddr,
}

/// A command, or the opening of a session.
type Key = (ClientId, About);

#[derive(Clone, Copy)]
struct Asked {
    came: Instant,
    /// First and last of the request that it came in: a hint is about the whole of a request.
    request: (About, About),
}

impl Asked {
    fn is_hoped_for(&self, now: Instant, limits: &Limits) -> bool {
        now.duration_since(self.came) < limits.client_in_flight_for
    }
}

struct Client {
    name: ConnectionId,
    /// Who is to be told what became of a command. Each list is limited by `askers_max`.
    askers: BTreeMap<About, Vec<SocketId>>,
    /// Sockets that speak for it.
    sockets: usize,
}

impl Clients {
    /// How many sockets are open.
    pub(crate) fn count(&self) -> usize {
        self.table().sockets.len()
    }

    /// Takes a socket from `address`, if there is room.
    pub(super) fn open(
        &self,
        address: IpAddr,
        limits: &Limits,
    ) -> Option<(SocketId, Arc<Outbox<FromContact>>)> {
        let address = network(address);
        let mut table = self.table();
        let here = table.addresses.get(&address).copied().unwrap_or_default();
        if table.sockets.len() >= limits.clients_max || here >= limits.clients_per_address_max {
            return None;
        }
        table.addresses.insert(address, here + 1);
        let outbox = Arc::new(Outbox::new(limits.client_outbox));
        let (in_flight, speaks_for) = (BTreeMap::new(), BTreeSet::new());
        let socket = Socket { outbox: outbox.clone(), in_flight, speaks_for, address };
        let id = SocketId(table.new_name());
        table.sockets.insert(id, socket);
        Some((id, outbox))
    }

    /// Forgets a socket. Tells which clients have none left.
    pub(super) fn close(&self, socket: SocketId) -> Vec<ConnectionId> {
        self.table().close(socket)
    }

    /// Notes a request of `client` for `abouts` that came on `socket`, if there is room for it; a repeat needs none.
    /// Gives the core's name of the client.
    pub(super) fn begin(
        &self,
        socket: SocketId,
        client: ClientId,
        abouts: &[About],
        now: Instant,
        limits: &Limits,
    ) -> Option<ConnectionId> {
        let mut table = self.table();
        if !table.makes_room(socket, client, abouts, now, limits) {
            return None;
        }
        let name = table.introduce(socket, client);
        let request = (*abouts.iter().min()?, *abouts.iter().max()?);
        for about in abouts {
            table.note(socket, (client, *about), Asked { came: now, request }, limits.askers_max);
        }
        Some(name)
    }

    /// Whether a reply may still come on a socket.
    pub(super) fn is_waiting(&self, socket: SocketId, now: Instant, limits: &Limits) -> bool {
        let table = self.table();
        let hoped = |socket: &Socket| socket.in_flight.values().any(|asked| asked.is_hoped_for(now, limits));
        table.sockets.get(&socket).is_some_and(hoped)
    }

    /// Hands a reply to a client to all who asked for it. Tells how many did not read and were let go for it.
    pub(crate) fn reply(&self, client: ConnectionId, reply: &Reply) -> usize {
        let mut table = self.table();
        let Some(client) = table.named.get(&client).copied() else { return 0 };
        let told = |socket: &Socket| socket.tell(FromContact::Reply(reply.clone()));
        let askers = table.settle((client, reply.about));
        askers.iter().filter_map(|socket| table.sockets.get(socket)).map(told).filter(is_overflow).count()
    }

    /// Hands a hint about a request, or about all that a client has asked, to all who asked for it. Tells how many
    /// did not read and were let go for it.
    pub(crate) fn hint(&self, client: ConnectionId, about: Option<About>, hint: &Hint) -> usize {
        let mut table = self.table();
        let Some(client) = table.named.get(&client).copied() else { return 0 };
        let askers = match about {
            Some(about) => table.take_back((client, about)),
            None => table.take_back_all(client),
        };
        let told = |socket: &Socket| socket.tell(FromContact::Hint { about, hint: hint.clone() });
        askers.iter().filter_map(|socket| table.sockets.get(socket)).map(told).filter(is_overflow).count()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    fn tell(&self, message: FromContact) -> Put {
        let bytes = weight(&message);
        self.outbox.put_or_close(message, bytes)
    }
}

fn is_overflow(put: &Put) -> bool {
    *put == Put::Overflowed
}

impl Table {
    fn new_name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    fn makes_room(
        &mut self,
        id: SocketId,
        client: ClientId,
        abouts: &[About],
        now: Instant,
        limits: &Limits,
    ) -> bool {
        let Some(socket) = self.sockets.get(&id) else { return false };
        let identities = socket.speaks_for.len() + usize::from(!socket.speaks_for.contains(&client));
        let new = abouts.iter().filter(|about| !socket.in_flight.contains_key(&(client, **about))).count();
        if identities > limits.client_identities_max || new > limits.client_in_flight_max {
            return false;
        }
        if socket.in_flight.len() + new <= limits.client_in_flight_max {
            return true;
        }
        let old = socket
            .in_flight
            .iter()
            .filter(|(_, asked)| !asked.is_hoped_for(now, limits))
            .map(|(key, _)| *key);
        for key in old.collect::<Vec<_>>() {
            self.forget(id, key);
        }
        self.sockets
            .get(&id)
            .is_some_and(|socket| socket.in_flight.len() + new <= limits.client_in_flight_max)
    }

    /// The core's name of `client`, which speaks on the socket from now on.
    fn introduce(&mut self, id: SocketId, client: ClientId) -> ConnectionId {
        let is_new = self.sockets.get_mut(&id).is_some_and(|socket| socket.speaks_for.insert(client));
        let fresh = ConnectionId(self.new_name());
        let entry = self.clients.entry(client).or_insert_with(|| Client {
            name: fresh,
            askers: BTreeMap::new(),
            sockets: 0,
        });
        entry.sockets += usize::from(is_new);
        self.named.insert(entry.name, client);
        entry.name
    }

    /// Adds an asker. Where there are as many as there may be, the first ones stay, since nobody could have asked
    /// before the client itself, and the newest takes the place of the last, who is told to ask elsewhere.
    fn note(&mut self, id: SocketId, key: Key, asked: Asked, askers_max: usize) {
        let (client, about) = key;
        let Some(entry) = self.clients.get_mut(&client) else { return };
        let askers = entry.askers.entry(about).or_default();
        let mut displaced = None;
        if !askers.contains(&id) {
            if askers.len() >= askers_max {
                displaced = askers.pop();
            }
            askers.push(id);
        }
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.in_flight.insert(key, asked);
        }
        if let Some(socket) = displaced.and_then(|other| self.sockets.get_mut(&other)) {
            socket.in_flight.remove(&key);
            // If it does not read, its own task finds its outbox closed.
            let _ = socket.tell(FromContact::Hint { about: Some(about), hint: Hint::Busy });
        }
    }

    /// Nobody waits for `key` any more; who did.
    fn settle(&mut self, key: Key) -> Vec<SocketId> {
        let askers = self.clients.get_mut(&key.0).and_then(|client| client.askers.remove(&key.1));
        let askers = askers.unwrap_or_default();
        for id in &askers {
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.in_flight.remove(&key);
            }
        }
        askers
    }

    /// Nobody waits here any more for the requests that `key` came in; who did.
    fn take_back(&mut self, key: Key) -> Vec<SocketId> {
        let asked = self.clients.get(&key.0).and_then(|client| client.askers.get(&key.1));
        let askers = asked.cloned().unwrap_or_default();
        for id in &askers {
            let Some(socket) = self.sockets.get(id) else { continue };
            let Some((first, last)) = socket.in_flight.get(&key).map(|asked| asked.request) else { continue };
            let within = socket.in_flight.range((key.0, first)..=(key.0, last));
            let same = within.filter(|(_, asked)| asked.request == (first, last)).map(|(key, _)| *key);
            for key in same.collect::<Vec<_>>() {
                self.forget(*id, key);
            }
        }
        askers
    }

    /// Nobody waits here any more for anything of `client`; who did.
    fn take_back_all(&mut self, client: ClientId) -> Vec<SocketId> {
        let Some(entry) = self.clients.get_mut(&client) else { return Vec::new() };
        let asked = std::mem::take(&mut entry.askers);
        let mut askers = BTreeSet::new();
        for (about, ids) in asked {
            for id in ids {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.in_flight.remove(&(client, about));
                }
                askers.insert(id);
            }
        }
        askers.into_iter().collect()
    }

    /// A socket does not wait for `key` any more.
    fn forget(&mut self, id: SocketId, key: Key) {
        let (client, about) = key;
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.in_flight.remove(&key);
        }
        if let Some(entry) = self.clients.get_mut(&client)
            && let Some(askers) = entry.askers.get_mut(&about)
        {
            askers.retain(|other| *other != id);
            if askers.is_empty() {
                entry.askers.remove(&about);
            }
        }
    }

    fn close(&mut self, id: SocketId) -> Vec<ConnectionId> {
        let Some(socket) = self.sockets.get(&id) else { return Vec::new() };
        socket.outbox.close();
        let keys: Vec<Key> = socket.in_flight.keys().copied().collect();
        for key in keys {
            self.forget(id, key);
        }
        let Some(Socket { speaks_for, address, .. }) = self.sockets.remove(&id) else { return Vec::new() };
        match self.addresses.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.addresses.remove(&address)),
        }
        let mut gone = Vec::new();
        for client in speaks_for {
            let Some(entry) = self.clients.get_mut(&client) else { continue };
            entry.sockets -= 1;
            if entry.sockets == 0 {
                gone.push(entry.name);
                self.named.remove(&entry.name);
                self.clients.remove(&client);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_crypto::{Digest, PublicKey, merkle, threshold::ServiceSignature};
    use smr_wire::{Outcome, ReplyProof, RequestNumber, SessionId, Slot};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const ALICE: ClientId = ClientId(PublicKey([1; 32]));

    fn limits() -> Limits {
        Limits { askers_max: 2, ..Limits::for_config(&smr_replica::Config::default()) }
    }

    fn about(number: u64) -> About {
        About { session: SessionId(1), number: RequestNumber(number) }
    }

    fn abouts(numbers: std::ops::RangeInclusive<u64>) -> Vec<About> {
        numbers.map(about).collect()
    }

    fn reply(number: u64) -> Reply {
        let path = merkle::Path { index: 0, count: 1, siblings: Vec::new() };
        let proof = ReplyProof::Certified { slot: Slot(1), path, signature: ServiceSignature([0; 96]) };
        Reply { about: about(number), outcome: Outcome::Answer(Vec::new()), proof }
    }

    /// What was said on a socket so far: `true` for a reply, and what about.
    async fn said(outbox: &Outbox<FromContact>) -> Vec<(bool, Option<u64>)> {
        let end = FromContact::Welcome { version: 0, certificate: None };
        assert_eq!(outbox.put_or_close(end, 0), Put::Queued);
        let said = outbox.take(usize::MAX).await.unwrap();
        let read = |message: FromContact| match message {
            FromContact::Reply(reply) => Some((true, Some(reply.about.number.0))),
            FromContact::Hint { about, .. } => Some((false, about.map(|about| about.number.0))),
            FromContact::Welcome { .. } => None,
        };
        said.into_iter().filter_map(read).collect()
    }

    #[tokio::test]
    async fn a_reply_goes_to_all_who_asked_and_who_repeats_another_s_request_takes_nothing_away() {
        let (limits, now) = (limits(), Instant::now());
        let clients = Clients::default();
        let (alice, hers) = clients.open(HERE, &limits).unwrap();
        let (thief, his) = clients.open(HERE, &limits).unwrap();
        let (third, its) = clients.open(HERE, &limits).unwrap();
        let name = clients.begin(alice, ALICE, &abouts(7..=7), now, &limits).unwrap();
        assert_eq!(clients.begin(thief, ALICE, &abouts(7..=7), now, &limits), Some(name));
        assert_eq!(clients.begin(third, ALICE, &abouts(7..=7), now, &limits), Some(name));
        assert_eq!(said(&his).await, [(false, Some(7))], "displaced, and told so");
        assert!(clients.close(third).is_empty(), "others speak for her");
        assert_eq!(clients.reply(name, &reply(7)), 0);
        assert_eq!((said(&hers).await, said(&his).await), (vec![(true, Some(7))], vec![]));
        assert!(!clients.is_waiting(alice, now, &limits) && its.take(1).await.is_none());
        assert_eq!((clients.close(thief), clients.close(alice)), (vec![], vec![name]));
        assert_eq!(clients.count(), 0);
        let table = clients.table();
        assert!(
            table.sockets.is_empty()
                && table.clients.is_empty()
                && table.named.is_empty()
                && table.addresses.is_empty()
        );
    }

    #[tokio::test]
    async fn a_hint_goes_to_each_asker_and_takes_back_the_whole_request() {
        let (limits, now) = (limits(), Instant::now());
        let clients = Clients::default();
        let (one, ones) = clients.open(HERE, &limits).unwrap();
        let (two, twos) = clients.open(HERE, &limits).unwrap();
        let name = clients.begin(one, ALICE, &abouts(1..=5), now, &limits).unwrap();
        clients.begin(one, ALICE, &abouts(6..=6), now, &limits).unwrap();
        clients.begin(two, ALICE, &abouts(1..=3), now, &limits).unwrap();
        clients.hint(name, Some(about(1)), &Hint::Busy);
        assert_eq!((said(&ones).await, said(&twos).await), (vec![(false, Some(1))], vec![(false, Some(1))]));
        assert!(
            clients.is_waiting(one, now, &limits) && !clients.is_waiting(two, now, &limits),
            "another request is still on its way"
        );
        clients.begin(two, ALICE, &abouts(1..=3), now, &limits).unwrap();
        clients.hint(name, None, &Hint::NotReady);
        assert_eq!((said(&ones).await, said(&twos).await), (vec![(false, None)], vec![(false, None)]));
        assert!(!clients.is_waiting(one, now, &limits) && !clients.is_waiting(two, now, &limits));
        clients.hint(name, None, &Hint::NotReady);
        assert_eq!(said(&ones).await, []);
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let limits = Limits { clients_max: 3, clients_per_address_max: 2, ..limits() };
        let clients = Clients::default();
        let there = IpAddr::from([10, 0, 0, 2]);
        let first = clients.open(HERE, &limits).unwrap().0;
        assert!(clients.open(HERE, &limits).is_some());
        assert!(clients.open(HERE, &limits).is_none(), "its own are taken");
        assert!(clients.open(there, &limits).is_some());
        assert!(clients.open(there, &limits).is_none(), "all are taken");
        clients.close(first);
        assert!(clients.open(HERE, &limits).is_some(), "places are given back");
    }

    #[test]
    fn what_a_socket_may_ask_at_once_is_limited_and_forgotten_after_a_while() {
        let limits = Limits { client_in_flight_max: 2, client_identities_max: 2, ..limits() };
        let clients = Clients::default();
        let (socket, _) = clients.open(HERE, &limits).unwrap();
        let now = Instant::now();
        let begin = |client, numbers, now| clients.begin(socket, client, &abouts(numbers), now, &limits);
        let name = begin(ALICE, 1..=2, now).unwrap();
        assert_eq!(begin(ALICE, 1..=2, now), Some(name), "a repeat needs no room");
        assert_eq!(begin(ALICE, 3..=3, now), None);
        clients.reply(name, &reply(1));
        assert_eq!(begin(ALICE, 3..=3, now), Some(name));
        let later = now + limits.client_in_flight_for;
        assert!(clients.is_waiting(socket, now, &limits) && !clients.is_waiting(socket, later, &limits));
        assert_eq!(begin(ALICE, 4..=5, later), Some(name));
        assert_eq!(clients.table().clients[&ALICE].askers.len(), 2, "nothing of the old is left");
        clients.hint(name, None, &Hint::Busy);
        let [bob, carol] = [2, 3].map(|seed| ClientId(PublicKey(Digest([seed; 32]).0)));
        assert!(begin(bob, 1..=1, later).is_some_and(|other| other != name));
        assert_eq!(begin(carol, 1..=1, later), None, "too many identities on one socket");
    }
}
