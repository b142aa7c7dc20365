//! Replicas that lie, for tests of everyone else. A lie is made between the replica's value and the world: what it
//! hears is bent, or what it says is twisted and signed with its own key. Only in builds with the feature
//! `misbehave`.

pub mod attempt;

use std::str::FromStr;
use std::sync::Arc;

use smr_app::CommandOutcome;
use smr_consensus::quorum::{Ballot, Phase};
use smr_consensus::{Batch, Message as Ordering, pbft};
use smr_replica::{Effect, Event, Message};
use smr_wire::Outcome;

use crate::edge::Edge;
use crate::peers::Peers;

/// How a replica lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misbehaviour {
    /// Believes in other outcomes than its application's, and signs blocks of them.
    WrongOutcomes,
    /// Is right inside, but tells clients other outcomes beside the true proof.
    ForgeReplies,
    /// As primary proposes one batch to some and another one to others.
    Equivocate,
    /// Says nothing to anyone, though it hears everything.
    StaySilent,
}

/// Their names on the command line.
pub const NAMES: &str = "wrong-outcomes, forge-replies, equivocate or stay-silent";

impl FromStr for Misbehaviour {
    type Err = UnknownMisbehaviour;

    fn from_str(text: &str) -> Result<Misbehaviour, UnknownMisbehaviour> {
        match text {
            "wrong-outcomes" => Ok(Misbehaviour::WrongOutcomes),
            "forge-replies" => Ok(Misbehaviour::ForgeReplies),
            "equivocate" => Ok(Misbehaviour::Equivocate),
            "stay-silent" => Ok(Misbehaviour::StaySilent),
            _ => Err(UnknownMisbehaviour),
        }
    }
}

/// A name of no misbehaviour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such misbehaviour; there are {NAMES}")]
pub struct UnknownMisbehaviour;

/// One lying replica.
pub(crate) struct Liar {
    how: Misbehaviour,
    edge: Arc<Edge>,
}

impl Liar {
    pub(crate) fn new(how: Misbehaviour, edge: &Arc<Edge>) -> Liar {
        tracing::warn!(?how, "this replica lies on purpose");
        Liar { how, edge: edge.clone() }
    }

    /// What the replica is to believe in place of `event`.
    pub(crate) fn bend(&mut self, event: Event) -> Event {
        match (self.how, event) {
            (Misbehaviour::WrongOutcomes, Event::Executed { slot, outcomes, late }) => {
                let outcomes = outcomes.into_iter().map(|outcome| outcome.map(falsified)).collect();
                Event::Executed { slot, outcomes, late }
            }
            (_, event) => event,
        }
    }

    /// What is to be done in place of `effect`, if anything beside what this does itself.
    pub(crate) fn twist(&mut self, effect: Effect, peers: &Peers) -> Option<Effect> {
        match (self.how, effect) {
            (
                Misbehaviour::StaySilent,
                Effect::Send { .. } | Effect::Broadcast(_) | Effect::Reply { .. } | Effect::Hint { .. },
            ) => None,
            (Misbehaviour::ForgeReplies, Effect::Reply { connection, mut reply }) => {
                reply.outcome = Outcome::Answer(b"forged".to_vec());
                Some(Effect::Reply { connection, reply })
            }
            (Misbehaviour::Equivocate, Effect::Broadcast(Message::Consensus(Ordering::Pbft(said)))) => {
                let others = self.edge.group.members().filter(|to| *to != self.edge.me);
                match self.contradicted(&said) {
                    Some(other) => {
                        for to in others {
                            peers.send(to, &wrapped(if to.0 % 2 == 0 { &said } else { &other }));
                        }
                        None
                    }
                    None => Some(Effect::Broadcast(Message::Consensus(Ordering::Pbft(said)))),
                }
            }
            (_, effect) => Some(effect),
        }
    }

    /// The same proposal with another batch, as well signed as the first.
    fn contradicted(&self, said: &pbft::Message) -> Option<pbft::Message> {
        let pbft::Message::Proposal { view, slot, batch, .. } = said else { return None };
        let batch = Batch::new(batch.time().plus_ms(1), batch.entries().to_vec());
        let ballot = Ballot { phase: Phase::Prepare, view: *view, slot: *slot, digest: batch.digest() };
        let signature = self.edge.identity.sign(&ballot.statement(&self.edge.group));
        Some(pbft::Message::Proposal { view: *view, slot: *slot, batch, signature })
    }
}

fn wrapped(said: &pbft::Message) -> Message {
    Message::Consensus(Ordering::Pbft(said.clone()))
}

fn falsified(outcome: CommandOutcome) -> CommandOutcome {
    match outcome {
        CommandOutcome::Answer(mut bytes) => {
            bytes.extend_from_slice(b" (or not)");
            CommandOutcome::Answer(bytes)
        }
        CommandOutcome::Fault(_) => CommandOutcome::Answer(b"fine".to_vec()),
    }
}
