//! Commands whose clients wait for the reply at this contact, and on which connection. What can no longer be
//! answered here is taken out, so that it neither stays for ever nor takes room from others.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::ConnectionId;
use crate::replies::Key;

/// Who waits for what. Both sides always name the same pairs.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    commands: BTreeMap<Key, ConnectionId>,
    connections: BTreeMap<ConnectionId, BTreeSet<Key>>,
}

impl Waiting {
    /// How many commands there would be if `keys` waited too.
    #[must_use]
    pub fn len_with(&self, keys: &[Key]) -> usize {
        self.commands.len() + keys.iter().filter(|key| !self.contains(key)).count()
    }

    /// Lets the reply to a command go to `connection`, and no longer to any other.
    pub fn add(&mut self, key: Key, connection: ConnectionId) {
        self.take(&key);
        self.commands.insert(key, connection);
        self.connections.entry(connection).or_default().insert(key);
    }

    /// Whether somebody waits for the reply to a command.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.commands.contains_key(key)
    }

    /// All commands that somebody waits for.
    pub fn commands(&self) -> impl Iterator<Item = &Key> {
        self.commands.keys()
    }

    /// Nobody waits for this one any more; returns who did.
    pub fn take(&mut self, key: &Key) -> Option<ConnectionId> {
        let connection = self.commands.remove(key)?;
        if let Some(keys) = self.connections.get_mut(&connection) {
            keys.remove(key);
            if keys.is_empty() {
                self.connections.remove(&connection);
            }
        }
        Some(connection)
    }

    /// Nobody waits at this connection any more.
    pub fn close(&mut self, connection: ConnectionId) {
        for key in self.connections.remove(&connection).unwrap_or_default() {
            self.commands.remove(&key);
        }
    }

    /// Nobody waits for anything any more; returns the connections at which somebody did.
    pub fn clear(&mut self) -> Vec<ConnectionId> {
        self.commands.clear();
        std::mem::take(&mut self.connections).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_crypto::PublicKey;
    use smr_wire::client::About;
    use smr_wire::{ClientId, RequestNumber, SessionId};

    fn key(number: u64) -> Key {
        (ClientId(PublicKey([1; 32])), About { session: SessionId(1), number: RequestNumber(number) })
    }

    #[test]
    fn a_repeat_takes_no_more_room_and_an_answer_gives_all_of_it_back() {
        let mut waiting = Waiting::default();
        for connection in [1, 2, 2, 2] {
            waiting.add(key(1), ConnectionId(connection));
        }
        assert_eq!(waiting.len_with(&[key(1), key(2)]), 2);
        assert_eq!(waiting.connections.len(), 1, "the first connection waits for nothing any more");
        assert_eq!(waiting.take(&key(1)), Some(ConnectionId(2)));
        assert_eq!(waiting.take(&key(1)), None);
        assert!(waiting.commands.is_empty() && waiting.connections.is_empty());
    }

    #[test]
    fn nobody_waits_at_a_closed_connection() {
        let mut waiting = Waiting::default();
        waiting.add(key(1), ConnectionId(1));
        waiting.add(key(2), ConnectionId(2));
        waiting.close(ConnectionId(1));
        assert!(!waiting.contains(&key(1)) && waiting.contains(&key(2)));
        assert_eq!(waiting.clear(), [ConnectionId(2)]);
        assert_eq!(waiting.len_with(&[]), 0);
    }
}
