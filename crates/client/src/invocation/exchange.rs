//! A signed request on its way: asked of one contact at a time, until each of its commands has an outcome.

use smr_crypto::IdentityKey;
use smr_wire::client::About;
use smr_wire::{Access, Call, Command, Request, ServiceId, SessionId, Timestamp};

use super::ContactId;
use super::contacts::doubled;
use crate::chance::Chance;
use crate::config::Config;

/// What every request of commands has besides them, in bytes: service, client, kind of call, session, access, count
/// of the commands, signature.
const FRAME_BYTES: usize = 32 + 32 + 1 + 8 + 1 + 4 + 64;

/// What a command has besides its bytes: its number and its length.
const COMMAND_BYTES: usize = 8 + 4;

/// Bytes that `command` adds to a request.
pub(super) fn cost(command: &[u8]) -> usize {
    COMMAND_BYTES + command.len()
}

/// Bytes of commands, with their [`cost`], that one request has room for.
pub(super) fn room(config: &Config) -> usize {
    (config.request_bytes_max as usize).saturating_sub(FRAME_BYTES)
}

/// Bytes that a command may have.
pub(super) fn command_bytes_max(config: &Config) -> usize {
    room(config).saturating_sub(COMMAND_BYTES)
}

/// A request and where it is.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) call: Call,
    /// Absent until it is first sent, and after commands left it.
    signed: Option<Request>,
    /// Commands without an outcome, or 1 for an opening.
    pub(super) open: usize,
    /// Who has it, or who had it last when `held` is false.
    pub(super) contact: Option<ContactId>,
    pub(super) held: Held,
    /// When to go to another contact.
    pub(super) due: Timestamp,
    /// Whether it ever left this client.
    pub(super) left: bool,
    pub(super) sends: u32,
    pub(super) hints: u32,
    pub(super) sent_at: Timestamp,
}

/// What `Exchange::contact` means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// It had the request, and failed it.
    No,
    /// It will have the request once its channel stands.
    Soon,
    /// It has the request.
    Yes,
    /// It has the request, but remarked something; the pause after that runs.
    Hinted,
}

impl Exchange {
    /// Not yet with any contact, and due at once.
    pub(super) fn new(call: Call, open: usize) -> Exchange {
        Exchange {
            call,
            signed: None,
            open,
            contact: None,
            held: Held::No,
            due: Timestamp(0),
            left: false,
            sends: 0,
            hints: 0,
            sent_at: Timestamp(0),
        }
    }

    /// The commands of `session`, all under one signature.
    pub(super) fn of_commands(session: SessionId, commands: Vec<Command>) -> Exchange {
        let open = commands.len();
        Exchange::new(Call::Commands { session, access: Access::Ordered, commands }, open)
    }

    /// The request, signed now if it is not yet; called when it is sent.
    pub(super) fn send(&mut self, key: &IdentityKey, service: ServiceId, clock: Timestamp) -> Request {
        self.sends = self.sends.saturating_add(1);
        self.left = true;
        self.held = Held::Yes;
        self.sent_at = clock;
        self.signed.get_or_insert_with(|| Request::sign(key, service, self.call.clone())).clone()
    }

    /// Takes a command that needs no further asking out of the request. The request changes only if it is sent
    /// again.
    pub(super) fn settle(&mut self, about: About) -> Option<Command> {
        self.open = self.open.saturating_sub(1);
        self.signed = None;
        let Call::Commands { commands, .. } = &mut self.call else {
            return None;
        };
        let at = commands.binary_search_by_key(&about.number, |command| command.number).ok()?;
        Some(commands.remove(at))
    }

    /// Silence to bear before another contact is asked, in ms, when replies usually take `usual_ms`.
    pub(super) fn patience_ms(&self, usual_ms: u64, config: &Config, chance: &mut Chance) -> u64 {
        let first = config.retry_ms.max(usual_ms.saturating_mul(3));
        let wait = doubled(first, self.sends.saturating_sub(1), config.retry_max_ms);
        wait + chance.below(wait / 4 + 1)
    }

    /// Pause after a hint, in ms.
    pub(super) fn pause_ms(&mut self, config: &Config, chance: &mut Chance) -> u64 {
        let wait = doubled(config.hint_ms, self.hints, config.retry_max_ms);
        self.hints = self.hints.saturating_add(1);
        wait + chance.below(wait / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_crypto::{Digest, Verifier};
    use smr_wire::RequestNumber;

    fn command(number: u64, bytes: usize) -> Command {
        Command { number: RequestNumber(number), bytes: vec![7; bytes] }
    }

    #[test]
    fn the_costs_add_up_to_the_bytes_of_a_request() {
        let key = IdentityKey::from_seed(&[1; 32]);
        let commands = vec![command(1, 0), command(2, 100)];
        let cost = commands.iter().map(|c| cost(&c.bytes)).sum::<usize>();
        let request = Exchange::of_commands(SessionId(1), commands).send(
            &key,
            ServiceId(Digest::default()),
            Timestamp(0),
        );
        assert_eq!(smr_wire::encode(&request).len(), cost + FRAME_BYTES);
    }

    #[test]
    fn a_request_is_signed_anew_when_commands_have_left_it() {
        let (key, service) = (IdentityKey::from_seed(&[1; 32]), ServiceId(Digest::default()));
        let mut exchange = Exchange::of_commands(SessionId(1), vec![command(1, 1), command(2, 1)]);
        let whole = exchange.send(&key, service, Timestamp(0));
        assert_eq!(exchange.send(&key, service, Timestamp(1)), whole);
        let left = exchange.settle(About { session: SessionId(1), number: RequestNumber(1) });
        assert_eq!(left, Some(command(1, 1)));
        let rest = exchange.send(&key, service, Timestamp(2));
        assert_eq!(rest.check(service, &Verifier::new(1)), Ok(()));
        assert_eq!(exchange.open, 1);
    }

    #[test]
    fn patience_grows_with_each_sending_up_to_a_limit() {
        let config = Config::default();
        let mut chance = Chance::new(&[1; 32]);
        let mut exchange = Exchange::of_commands(SessionId(1), vec![command(1, 1)]);
        let mut last = 0;
        for sends in 1..20 {
            exchange.sends = sends;
            let patience = exchange.patience_ms(10, &config, &mut chance);
            assert!(patience <= config.retry_max_ms + config.retry_max_ms / 4);
            assert!(patience >= last.min(config.retry_max_ms));
            last = patience.min(config.retry_max_ms) / 5 * 4;
        }
    }
}
