//! Every protocol there is, a line each. Planner, simulator, contract tests and help text read this list.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_wire::ReplicaId;

use crate::batch::Entry;
use crate::checkpoint::CheckpointCertificate;
use crate::config::Config;
use crate::group::Seat;
use crate::lanes::schedule::Schedule;
use crate::profile::Profile;
use crate::protocol::{Effects, Event, Input, Protocol, Status};
use crate::record::{Record, Unfit};
use crate::verified::{Refused, Rules, Verified, Verify};
use crate::{lanes, pbft, solo};

/// Makes, from a line for each engine and one for each protocol, the sum of their messages and of their engines.
macro_rules! registry {
    (
        engines { $($engine:ident: $module:ident;)+ }
        protocols { $($name:ident = $profile:path: |$seat:pat_param, $config:ident| $of:ident($make:expr);)+ }
    ) => {
        /// A protocol's name. Its number on the wire is its place in the list, so new ones go to the end.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
        pub enum ProtocolName {
            $(#[doc = concat!("See `", stringify!($profile), "`.")] $name,)+
        }

        /// All of them.
        pub const PROTOCOLS: &[ProtocolName] = &[$(ProtocolName::$name),+];

        impl ProtocolName {
            /// What it says of itself.
            #[must_use]
            pub const fn profile(self) -> Profile {
                match self { $(ProtocolName::$name => $profile,)+ }
            }

            /// A replica of it that has decided nothing.
            #[must_use]
            pub fn start(self, seat: Seat, config: Config) -> Engine {
                match self {
                    $(ProtocolName::$name => {
                        let ($seat, $config) = (seat, config);
                        Engine { inner: Inner::$of(Box::new($make)), name: self }
                    })+
                }
            }
        }

        /// A message of some engine.
        #[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
        pub enum Message {
            $(#[doc = concat!("Of `", stringify!($module), "`.")] $engine($module::Message),)+
        }

        impl Verify for Message {
            fn verify(&self, from: ReplicaId, rules: &Rules<'_>) -> Result<(), Refused> {
                match self { $(Message::$engine(message) => message.verify(from, rules),)+ }
            }

            fn asks_for_much(&self) -> bool {
                match self { $(Message::$engine(message) => message.asks_for_much(),)+ }
            }
        }

        #[derive(Clone, Debug)]
        enum Inner {
            $($engine(Box<$module::$engine>),)+
        }

        impl Protocol for Engine {
            type Message = Message;

            fn step(&mut self, input: Input<Message>, effects: &mut Effects<Message>) {
                match &mut self.inner {
                    $(Inner::$engine(engine) => {
                        let narrow = |message| match message {
                            Message::$engine(inner) => Some(inner),
                            _ => None,
                        };
                        let Some(event) = narrow_event(input.event, narrow) else { return };
                        let mut inner = Effects::default();
                        engine.step(Input { clock: input.clock, event }, &mut inner);
                        inner.drain().for_each(|effect| effects.push(effect.map(Message::$engine)));
                    })+
                }
            }

            fn status(&self) -> Status {
                match &self.inner { $(Inner::$engine(engine) => engine.status(),)+ }
            }

            fn waiting(&self) -> Vec<Entry> {
                match &self.inner { $(Inner::$engine(engine) => engine.waiting(),)+ }
            }

            fn resume(
                &mut self,
                checkpoint: Option<CheckpointCertificate>,
                records: Vec<Record>,
                effects: &mut Effects<Message>,
            ) -> Result<(), Unfit> {
                match &mut self.inner {
                    $(Inner::$engine(engine) => {
                        let mut inner = Effects::default();
                        let resumed = engine.resume(checkpoint, records, &mut inner);
                        inner.drain().for_each(|effect| effects.push(effect.map(Message::$engine)));
                        resumed
                    })+
                }
            }

            fn standing(&self) -> Vec<Record> {
                match &self.inner { $(Inner::$engine(engine) => engine.standing(),)+ }
            }
        }
    };
}

registry! {
    engines {
        Solo: solo;
        Pbft: pbft;
        Lanes: lanes;
    }
    protocols {
        Solo = solo::PROFILE: |_seat, config| Solo(solo::Solo::new(config));
        Pbft = pbft::PROFILE: |seat, config| Pbft(pbft::Pbft::new(seat, config));
        Paxos = lanes::PAXOS: |seat, config| Lanes(lanes::Lanes::new(Schedule::Stable, seat, config));
        Mencius = lanes::MENCIUS: |seat, config| Lanes(lanes::Lanes::new(Schedule::Rotating, seat, config));
        Minbft = lanes::MINBFT: |seat, config| Lanes(lanes::Lanes::new(Schedule::Stable, seat, config));
        Ebawa = lanes::EBAWA: |seat, config| Lanes(lanes::Lanes::new(Schedule::Rotating, seat, config));
    }
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

    /// The value inside, where the protocol is one of `lanes`: for whoever watches it in tests.
    #[must_use]
    pub fn lanes(&self) -> Option<&lanes::Lanes> {
        match &self.inner {
            Inner::Lanes(lanes) => Some(lanes),
            _ => None,
        }
    }
}

/// The same event for one protocol; none for a message of another one, which is dropped.
fn narrow_event<N>(event: Event<Message>, narrow: impl FnOnce(Message) -> Option<N>) -> Option<Event<N>> {
    Some(match event {
        Event::Message(message) => Event::Message(Verified::rewrap(message, narrow)?),
        Event::Start => Event::Start,
        Event::Offer(entry) => Event::Offer(entry),
        Event::Attested(answer) => Event::Attested(answer),
        Event::Timer(timer) => Event::Timer(timer),
        Event::Executed(slot) => Event::Executed(slot),
        Event::Settled(slot) => Event::Settled(slot),
        Event::Stable(certificate) => Event::Stable(certificate),
        Event::Installed(certificate) => Event::Installed(certificate),
        Event::Barrier(slot) => Event::Barrier(slot),
        Event::Cease(cease) => Event::Cease(cease),
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
    use crate::upkeep::Upkeep;
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
            let message = Message::Pbft(pbft::Message::Upkeep(Upkeep::Suspects(wishes)));
            let event = Event::Message(Verified::check(ReplicaId(3), message, &rules).expect("well formed"));
            engine.step(Input { clock: Timestamp(1), event }, &mut Effects::default());
            engine.status().view
        };
        assert_eq!((view_after(ProtocolName::Pbft), view_after(ProtocolName::Solo)), (View(2), View(0)));
    }
}
