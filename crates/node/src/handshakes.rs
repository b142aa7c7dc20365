//! Connections that have not proven yet who they are: so many at once, and so many from one address. What a
//! connection says it is for decides in which room it proves it, so that clients take no room of members and of the
//! administrator; until it has said so it waits in a room of its own, and not for long.
//!
//! ```text
//!   from an address where a member is --> Known ----\   says what it is for   /--> Members --> proven
//!   from any other --------------------> Strangers --+-----------------------+--> Clients --> proven
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many may be in one room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomLimits {
    /// Connections at once.
    pub at_once_max: usize,
    /// Of these, connections from one address (of IPv6, from one network of 64 bits). Below `at_once_max`, so that
    /// nobody fills a room alone; many clients may share an address.
    pub per_address_max: usize,
}

/// The limits of all rooms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandshakeLimits {
    /// That have not said what they are for, from addresses where no member or administrator was seen.
    pub strangers: RoomLimits,
    /// That have not said what they are for, from the others. One machine may hold a whole group, and its clients.
    pub known: RoomLimits,
    /// That say they are clients.
    pub clients: RoomLimits,
    /// That say they are members or the administrator.
    pub members: RoomLimits,
}

/// Addresses that are remembered as known, at most; members' addresses in the genesis come first.
const KNOWN_MAX: usize = 1024;

/// Where a connection is while it proves who it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Room {
    Strangers,
    Known,
    Clients,
    Members,
}

/// Who is in which room.
#[derive(Debug)]
pub(crate) struct Handshakes {
    limits: HandshakeLimits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By room and address; no entry is zero.
    present: BTreeMap<(Room, IpAddr), usize>,
    known: BTreeSet<IpAddr>,
}

impl Handshakes {
    /// Empty rooms; members are expected from `addresses`, as far as these are no names.
    pub(crate) fn new<'a>(
        limits: HandshakeLimits,
        addresses: impl IntoIterator<Item = &'a str>,
    ) -> Arc<Handshakes> {
        let host = |address: &str| address.parse().ok().map(|address: std::net::SocketAddr| address.ip());
        let known = addresses.into_iter().filter_map(host).map(network).take(KNOWN_MAX).collect();
        Arc::new(Handshakes { limits, inner: Mutex::new(Inner { known, ..Inner::default() }) })
    }

    /// A connection comes from `address`; none if there is no room for it.
    pub(crate) fn arrive(self: &Arc<Handshakes>, address: IpAddr) -> Option<Pass> {
        let address = network(address);
        let room = if self.lock().known.contains(&address) { Room::Known } else { Room::Strangers };
        self.enter(room, address)
    }

    /// A member or the administrator was seen at this address.
    pub(crate) fn know(&self, address: IpAddr) {
        let mut inner = self.lock();
        if inner.known.len() < KNOWN_MAX {
            inner.known.insert(network(address));
        }
    }

    fn enter(self: &Arc<Handshakes>, room: Room, address: IpAddr) -> Option<Pass> {
        let limits = match room {
            Room::Strangers => self.limits.strangers,
            Room::Known => self.limits.known,
            Room::Clients => self.limits.clients,
            Room::Members => self.limits.members,
        };
        let mut inner = self.lock();
        let here = |(at, _): &(&(Room, IpAddr), &usize)| at.0 == room;
        let at_once: usize = inner.present.iter().filter(here).map(|(_, count)| count).sum();
        let count = inner.present.get(&(room, address)).copied().unwrap_or_default();
        if at_once >= limits.at_once_max || count >= limits.per_address_max {
            return None;
        }
        inner.present.insert((room, address), count + 1);
        Some(Pass { handshakes: self.clone(), room, address })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets one connection be in a room, as long as this lives.
#[derive(Debug)]
pub(crate) struct Pass {
    handshakes: Arc<Handshakes>,
    room: Room,
    address: IpAddr,
}

impl Pass {
    /// Goes to another room; none if there is no place in it.
    pub(crate) fn go_to(self, room: Room) -> Option<Pass> {
        self.handshakes.enter(room, self.address)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inner = self.handshakes.lock();
        let at = (self.room, self.address);
        match inner.present.get_mut(&at) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(inner.present.remove(&at)),
        }
    }
}

/// What counts as one address: whoever has one of IPv6 has 2^64 of them.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: &str = "10.0.0.1:7000";

    fn handshakes() -> Arc<Handshakes> {
        let room = RoomLimits { at_once_max: 3, per_address_max: 2 };
        let limits = HandshakeLimits { strangers: room, known: room, clients: room, members: room };
        Handshakes::new(limits, [MEMBER, "replica.example:7000"])
    }

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_and_clients_take_no_room_of_members() {
        let handshakes = handshakes();
        let arrive = |address| handshakes.arrive(at(address));
        let mut strangers = vec![arrive("10.9.0.1").unwrap(), arrive("10.9.0.1").unwrap()];
        assert!(arrive("10.9.0.1").is_none(), "one address has no more");
        strangers.push(arrive("10.9.0.2").unwrap());
        assert!(arrive("10.9.0.3").is_none(), "all together have no more");
        let member = arrive("10.0.0.1").expect("known by the genesis");
        let member = member.go_to(Room::Members).unwrap();

        let clients: Vec<_> = strangers.drain(..).map(|one| one.go_to(Room::Clients).unwrap()).collect();
        assert!(arrive("10.9.0.3").unwrap().go_to(Room::Clients).is_none());
        let operator = arrive("10.9.0.1").unwrap().go_to(Room::Members);
        assert!(operator.is_some(), "clients of its address do not count");
        drop((clients, member, operator));
        assert!(handshakes.lock().present.is_empty());
    }

    #[test]
    fn an_address_where_a_key_was_proven_is_known_and_a_network_of_ipv6_is_one_address() {
        let handshakes = handshakes();
        let strangers: Vec<_> =
            ["10.9.0.1", "10.9.0.2", "10.9.0.3"].map(|a| handshakes.arrive(at(a)).unwrap()).into();
        assert!(handshakes.arrive(at("10.1.1.1")).is_none());
        handshakes.know(at("10.1.1.1"));
        assert!(handshakes.arrive(at("::ffff:10.1.1.1")).is_some());
        drop(strangers);
        let _one = handshakes.arrive(at("2001:db8::1")).unwrap();
        let _two = handshakes.arrive(at("2001:db8::2:2")).unwrap();
        assert!(handshakes.arrive(at("2001:db8::3")).is_none());
        assert!(handshakes.arrive(at("2001:db8:0:1::3")).is_some());
    }
}
