//! Every protocol there is, a line each. Planner, simulator, contract tests and help text read this list.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_wire::ReplicaId;

use crate::config::Config;
use crate::group::Seat;
use crate::profile::Profile;
use crate::protocol::{Effects, Event, Input, Protocol, Status};
use crate::verified::{Refused, Rules, Verified, Verify};
use crate::{pbft, solo};

/// Makes, from one line per protocol, the sum of their messages and the sum of their engines.
macro_rules! registry {
    ($($name:ident: $module:ident, |$seat:pat_param, $config:ident| $make:expr;)+) => {
        /// A protocol's name. Its number on the wire is its place in the list, so new ones go to the end.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
        pub enum ProtocolName {
            $(#[doc = concat!("See the module `", stringify!($module), "`.")] $name,)+
        }

        /// All of them.
        pub const PROTOCOLS: &[ProtocolName] = &[$(ProtocolName::$name),+];

        impl ProtocolName {
            /// What it says of itself.
            #[must_use]
            pub const fn profile(self) -> Profile {
                match self { $(ProtocolName::$name => $module::PROFILE,)+ }
            }

            /// A replica of it that has decided nothing.
            #[must_use]
            pub fn start(self, seat: Seat, config: Config) -> Engine {
                match self {
                    $(ProtocolName::$name => {
                        let ($seat, $config) = (seat, config);
                        Engine { inner: Inner::$name(Box::new($make)), name: self }
                    })+
                }
            }
        }

        /// A message of some protocol.
        #[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
        pub enum Message {
            $(#[doc = concat!("Of `", stringify!($module), "`.")] $name($module::Message),)+
        }

        impl Verify for Message {
            fn verify(&self, from: ReplicaId, rules: &Rules<'_>) -> Result<(), Refused> {
                match self { $(Message::$name(message) => message.verify(from, rules),)+ }
            }
        }

        #[derive(Clone, Debug)]
        enum Inner {
            $($name(Box<$module::$name>),)+
        }

        impl Protocol for Engine {
            type Message = Message;

            fn step(&mut self, input: Input<Message>, effects: &mut Effects<Message>) {
                match &mut self.inner {
                    $(Inner::$name(engine) => {
                        let narrow = |message| match message {
                            Message::$name(inner) => Some(inner),
                            _ => None,
                        };
                        let Some(event) = narrow_event(input.event, narrow) else { return };
                        let mut inner = Effects::default();
                        engine.step(Input { clock: input.clock, event }, &mut inner);
                        inner.drain().for_each(|effect| effects.push(effect.map(Message::$name)));
                    })+
                }
            }

            fn status(&self) -> Status {
                match &self.inner { $(Inner::$name(engine) => engine.status(),)+ }
            }
        }
    };
}

registry! {
    Solo: solo, |_seat, config| solo::Solo::new(config);
    Pbft: pbft, |seat, config| pbft::Pbft::new(seat, config);
}

/// A replica's part in whichever protocol its service runs.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Inner,
    name: ProtocolName,
}

impl Engine {
    /// Which protocol this is.
    #[must_use]
    pub fn name(&self) -> ProtocolName {
        self.name
    }
}

/// The same event for one protocol; none for a message of another one, which is dropped.
fn narrow_event<N>(event: Event<Message>, narrow: impl FnOnce(Message) -> Option<N>) -> Option<Event<N>> {
    Some(match event {
        Event::Message(message) => Event::Message(Verified::rewrap(message, narrow)?),
        Event::Start => Event::Start,
        Event::Offer(entry) => Event::Offer(entry),
        Event::Timer(timer) => Event::Timer(timer),
        Event::Executed(slot) => Event::Executed(slot),
        Event::Settled(slot) => Event::Settled(slot),
        Event::Stable(certificate) => Event::Stable(certificate),
        Event::Installed(certificate) => Event::Installed(certificate),
    })
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.profile().name)
    }
}

impl FromStr for ProtocolName {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<ProtocolName, UnknownProtocol> {
        PROTOCOLS.iter().copied().find(|p| p.profile().name == text).ok_or(UnknownProtocol)
    }
}

/// A name that is in no line of the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such protocol; there are: {}", PROTOCOLS.iter().map(|p| p.profile().name).collect::<Vec<_>>().join(", "))]
pub struct UnknownProtocol;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbft::tests::{group_of_four, seat};
    use crate::suspicion::Suspect;
    use smr_crypto::Verifier;
    use smr_wire::{Timestamp, View};

    #[test]
    fn every_name_reads_back() {
        for protocol in PROTOCOLS {
            assert_eq!(protocol.to_string().parse(), Ok(*protocol));
        }
        assert_eq!("raft".parse::<ProtocolName>(), Err(UnknownProtocol));
    }

    #[test]
    fn a_message_reaches_the_protocol_it_is_of_and_no_other() {
        let (group, _) = group_of_four();
        let (verifier, config) = (Verifier::new(8), Config::default());
        let rules = Rules { group: &group, config: &config, verifier: &verifier };
        let view_after = |protocol: ProtocolName| {
            let mut engine = protocol.start(seat(1), config.clone());
            let wishes = [2, 3].map(|who| Suspect::sign(&seat(who), View(2))).to_vec();
            let message = Message::Pbft(pbft::Message::Suspects(wishes));
            let event = Event::Message(Verified::check(ReplicaId(3), message, &rules).expect("well formed"));
            engine.step(Input { clock: Timestamp(1), event }, &mut Effects::default());
            engine.status().view
        };
        assert_eq!((view_after(ProtocolName::Pbft), view_after(ProtocolName::Solo)), (View(2), View(0)));
    }
}
