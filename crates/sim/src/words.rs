//! What is sent, what happens and what is noticed, in words: for traces, and for the records of scenarios.

use std::collections::{BTreeMap, BTreeSet};

use smr_app::SlotWork;
use smr_client::Report;
use smr_consensus::decision::{Decides, Decision};
use smr_consensus::lanes::{Message as Lanes, beginning};
use smr_consensus::pbft::{Message as Pbft, ViewChange};
use smr_consensus::protocol::Observation as Ordered;
use smr_consensus::quorum::{Ballot, Phase, QuorumCertificate};
use smr_consensus::suspicion::Suspect;
use smr_consensus::upkeep::Upkeep;
use smr_consensus::{Batch, Entry, EntryBody, Message as Ordering};
use smr_crypto::Digest;
use smr_crypto::dkg;
use smr_replica::effect::Observation;
use smr_replica::message::PeerMessage;
use smr_replica::replies::Statement;
use smr_replica::system::SystemCommand;
use smr_replica::{Event, Message, Timer};
use smr_wire::{Call, ClientId, FromContact, Outcome, Slot, ToContact, View};

use crate::clients::Told;
use crate::world::START;
use crate::world::crash::DiskWork;
use crate::world::happenings::{Happening, Letter};

/// The first word of every letter.
pub(crate) const KINDS: [&str; 31] = [
    "Forward",
    "Proposal",
    "Prepare",
    "Commit",
    "Endorse",
    "Acknowledge",
    "Begun",
    "Suspects",
    "ViewChange",
    "NewView",
    "Status",
    "Fetch",
    "Decided",
    "Pruned",
    "FetchBody",
    "Body",
    "Share",
    "ShareQuery",
    "CheckpointVote",
    "Stable",
    "StateQuery",
    "StateOffer",
    "LeavesQuery",
    "Leaves",
    "ChunksQuery",
    "Chunks",
    "Hello",
    "Request",
    "Welcome",
    "Reply",
    "Hint",
];

/// How digests and clients are called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    /// Letters for digests, by order of appearance; without it, digests are shown by their first digits.
    names: Option<BTreeMap<Digest, String>>,
    explained: BTreeSet<Digest>,
    clients: Vec<ClientId>,
    /// What a letter stands for, of those that came up since somebody asked.
    fresh: Vec<String>,
    /// Whether nothing gets a name for now, as nobody will read it.
    hushed: bool,
}

impl Words {
    /// Digests by their first digits.
    pub(crate) fn plain() -> Words {
        Words::default()
    }

    /// Digests by letters, and clients by their index in `clients`.
    pub(crate) fn naming(clients: Vec<ClientId>) -> Words {
        Words { names: Some(BTreeMap::new()), clients, ..Words::default() }
    }

    /// Gives no new names, or does so again.
    pub(crate) fn hush(&mut self, hushed: bool) {
        self.hushed = hushed;
    }

    /// What letters stand for, of those that came up since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fresh)
    }

    /// A line for a happening.
    pub(crate) fn happening(&mut self, happening: &Happening) -> String {
        match happening {
            Happening::Arrival(letter) => {
                let (from, to) = letter.ends();
                format!("{from} -> {to}  {}", self.letter(letter))
            }
            Happening::Timer { machine, timer, .. } => format!("r{machine} {}", self::timer(*timer)),
            Happening::Look { machine, .. } => format!("somebody looks after r{machine}'s application"),
            Happening::Chunk { machine, slot, .. } => format!("r{machine} makes chunks of s{slot}"),
            Happening::Disk { machine, work: DiskWork::Synced(_) } => format!("r{machine}'s disk is in step"),
            Happening::Disk { machine, work: DiskWork::Kept(state) } => {
                format!("r{machine} has the state after s{} on disk", state.0.checkpoint.slot)
            }
            Happening::Operator { machine } => format!("the administrator looks after r{machine}"),
            Happening::Event { machine, event } => format!("r{machine} {}", self.event(event)),
            Happening::Client { client } => format!("c{client} looks at its clock"),
            Happening::Fault(fault) => format!("fault: {fault:?}"),
        }
    }

    /// What is on its way. The first word is one of [`KINDS`].
    pub(crate) fn letter(&mut self, letter: &Letter) -> String {
        match letter {
            Letter::Peer { message: Message::Consensus(Ordering::Pbft(message)), .. } => self.pbft(message),
            Letter::Peer { message: Message::Consensus(Ordering::Lanes(message)), .. } => self.lanes(message),
            Letter::Peer { message: Message::Consensus(Ordering::Solo(never)), .. } => format!("{never:?}"),
            Letter::Peer { message: Message::Peer(message), .. } => self.peer(message),
            Letter::ToContact { frame, .. } => to_contact(frame),
            Letter::ToClient { frame, .. } => from_contact(frame),
        }
    }

    /// What a replica reports.
    pub(crate) fn observation(&mut self, observation: &Observation) -> String {
        match observation {
            Observation::Consensus(ordered) => ordering(ordered),
            Observation::Ceremony(progress) => progress.clone(),
            Observation::KeyGenerated { qualified, excluded, share } => {
                let dealers: Vec<String> = qualified.iter().map(|who| format!("r{who}")).collect();
                let out: Vec<String> =
                    excluded.iter().map(|(who, why)| format!("; r{who} is excluded: {why}")).collect();
                let share = if *share { "" } else { "; it has no share" };
                format!("has the key, dealt by {}{}{share}", dealers.join(" "), out.concat())
            }
            Observation::CoresBroken(whose) => {
                let whose: Vec<String> = whose.iter().map(|who| format!("r{who}")).collect();
                format!("finds that these have no trusted core: {}", whose.join(" "))
            }
            Observation::BadShare(author) => format!("finds shares of r{author} bad"),
            Observation::Stable(slot) => format!("has a stable checkpoint at s{slot}"),
            Observation::Diverged { slot, certified, own } => {
                let (certified, own) = (self.state(certified), self.state(own));
                format!("has diverged at s{slot}: its state is {own}, that of the others {certified}")
            }
            Observation::Flawed(flaw) => format!("is silent: {flaw}"),
            Observation::Healed(slot) => format!("has the right state again, after s{slot}"),
            Observation::Halted(why) => format!("halts: {why}"),
            Observation::Generation(generation) => format!("enters generation {generation}"),
            Observation::NotRestarted(why) => format!("does not take the manifest up: {why}"),
            Observation::TransferBegan(slot) => format!("wants a state above s{slot}"),
            Observation::TransferDone(slot) => format!("has taken over the state after s{slot}"),
            Observation::TransferFailed(why) => format!("cannot use the state: {why}"),
        }
    }

    /// What a replica gives its application.
    pub(crate) fn work(&mut self, work: &SlotWork) -> String {
        let mut parts: Vec<String> = work.commands.iter().map(|c| text(&c.command)).collect();
        parts.extend(work.timers.then(|| "timed commands".to_string()));
        let parts = if parts.is_empty() { "no command".to_string() } else { parts.join(" | ") };
        format!("executes s{}: {parts}", work.slot)
    }

    /// What a client has to tell.
    pub(crate) fn told(&mut self, told: &Told) -> String {
        match told {
            Told::Ended { command, how } => format!("{}: {how}", text(command)),
            Told::Noticed(report) => match report {
                Report::Opened(_) => "has a session".into(),
                Report::SessionGone(_) => "has lost its session".into(),
                Report::Resent { contact, .. } => format!("asks again, at r{}", contact.0),
                Report::Hint { contact, hint } => format!("hears from r{}: {hint}", contact.0),
                Report::Lie { contact, lie } => format!("avoids r{}: {lie}", contact.0),
                Report::Lost { contact, why } => format!("gives up r{}: {why}", contact.0),
                Report::Surplus(contact) => format!("has no use for what r{} says", contact.0),
            },
        }
    }

    fn event(&mut self, event: &Event) -> String {
        match event {
            Event::Executed { slot, outcomes, late } => {
                format!("executed slot {slot}: {} commands, {} that had waited", outcomes.len(), late.len())
            }
            Event::Checkpointed { slot, state } => match state {
                Ok(_) => format!("state after slot {slot} is taken"),
                Err(why) => format!("no state after slot {slot}: {why}"),
            },
            Event::Chunked { slot, state, .. } => match state {
                Ok(image) => format!("state after slot {slot} in {} chunks", image.count()),
                Err(why) => format!("no state after slot {slot}: {why}"),
            },
            Event::Restored { slot, .. } => format!("restored slot {slot}"),
            Event::Signed { statement, .. } => format!("signed {}", self::statement(statement)),
            Event::Combined { statement, signature, culprits, .. } => {
                let whole = signature.is_some();
                format!("combined {}: {whole}, bad shares of {culprits:?}", self::statement(statement))
            }
            Event::Start => "starts".into(),
            other => format!("{other:?}"),
        }
    }

    fn pbft(&mut self, message: &Pbft) -> String {
        match message {
            Pbft::Proposal { view, slot, batch, .. } => {
                format!("Proposal v{view} s{slot} {}", self.batch(batch))
            }
            Pbft::Vote { ballot, .. } => self.ballot(ballot),
            Pbft::ViewChange(change) => format!("ViewChange v{}: {}", change.to, self.view_change(change)),
            Pbft::NewView(new_view) => {
                let changes: Vec<String> = new_view.changes.iter().map(|c| self.view_change(c)).collect();
                format!("NewView v{}: {}", new_view.view, changes.join(", "))
            }
            Pbft::Upkeep(upkeep) => self.upkeep(upkeep),
        }
    }

    fn lanes(&mut self, message: &Lanes) -> String {
        match message {
            Lanes::Endorse { endorsement, batches } => {
                let word = if batches.is_empty() { "Endorse" } else { "Proposal" };
                let items: Vec<String> = endorsement
                    .items
                    .iter()
                    .map(|item| match batches.iter().find(|(slot, _)| *slot == item.slot) {
                        Some((slot, batch)) => format!("s{slot} {}", self.batch(batch)),
                        None => format!("s{} {} too", item.slot, self.digest(&item.digest)),
                    })
                    .collect();
                format!("{word} v{} {}", endorsement.view, items.join(", "))
            }
            Lanes::ViewChange(change) => format!("ViewChange v{}: {}", change.to, self.lanes_change(change)),
            Lanes::NewView(new_view) => {
                let changes: Vec<String> = new_view.changes.iter().map(|c| self.lanes_change(c)).collect();
                format!("NewView v{}: {}", new_view.view, changes.join(", "))
            }
            Lanes::Acknowledge { view, .. } => format!("Acknowledge v{view}"),
            Lanes::Nudge { slot } => format!("Nudge s{slot}"),
            Lanes::Begun(certificate) => format!("Begun v{}", certificate.beginning.view),
            Lanes::Upkeep(upkeep) => self.upkeep(upkeep),
        }
    }

    fn upkeep<C: Decides>(&mut self, message: &Upkeep<C>) -> String {
        match message {
            Upkeep::Forward(entries) => self.forward(entries),
            Upkeep::Suspects(wishes) => suspects(wishes),
            Upkeep::Status { view, installed, decided } => status(*view, *installed, *decided),
            Upkeep::Fetch { after } => format!("Fetch after s{after}"),
            Upkeep::Decided(decisions) => self.decided(decisions),
            Upkeep::Pruned(certificate) => format!("Pruned: state of s{}", certificate.checkpoint.slot),
            Upkeep::FetchBody { slot, digest } => format!("FetchBody s{slot} {}", self.digest(digest)),
            Upkeep::Body { slot, batch } => format!("Body s{slot} {}", self.batch(batch)),
        }
    }

    fn lanes_change(&mut self, change: &beginning::ViewChange) -> String {
        let votes: Vec<String> = change
            .open()
            .iter()
            .map(|vote| format!("s{} {} in v{}", vote.item.slot, self.digest(&vote.item.digest), vote.view))
            .collect();
        let voted =
            if votes.is_empty() { String::new() } else { format!(" voted for {}", votes.join(" and ")) };
        format!("r{} decided s{}{voted}", change.author, change.decided)
    }

    fn forward(&self, entries: &[Entry]) -> String {
        let entries: Vec<String> = entries.iter().map(|entry| self.entry(entry)).collect();
        format!("Forward {}", entries.join(" | "))
    }

    fn decided<C: Decides>(&mut self, decisions: &[Decision<C>]) -> String {
        let slots: Vec<String> =
            decisions.iter().map(|d| format!("s{} {}", d.certificate.slot(), self.batch(&d.batch))).collect();
        format!("Decided {}", slots.join(", "))
    }

    fn peer(&mut self, message: &PeerMessage) -> String {
        match message {
            PeerMessage::Share { statement, .. } => format!("Share {}", self::statement(statement)),
            PeerMessage::ShareQuery { statement } => format!("ShareQuery {}", self::statement(statement)),
            PeerMessage::CheckpointVote { checkpoint, .. } => {
                format!("CheckpointVote s{} {}", checkpoint.slot, self.state(&checkpoint.digest))
            }
            PeerMessage::Stable(certificate) => format!("Stable s{}", certificate.checkpoint.slot),
            PeerMessage::Moved(certificate) => format!("Moved s{}", certificate.checkpoint.slot),
            PeerMessage::StateQuery { above, begun } => {
                let begun = begun.map(|slot| format!(", begun s{slot}")).unwrap_or_default();
                format!("StateQuery above s{above}{begun}")
            }
            PeerMessage::StateOffer(offer) => {
                format!("StateOffer s{} in {} chunks", offer.certificate.checkpoint.slot, offer.count)
            }
            PeerMessage::LeavesQuery { slot, block } => format!("LeavesQuery s{slot} #{block}"),
            PeerMessage::Leaves { slot, path, .. } => format!("Leaves s{slot} #{}", path.index),
            PeerMessage::ChunksQuery { slot, indexes } => format!("ChunksQuery s{slot} {indexes:?}"),
            PeerMessage::Chunks { slot, chunks } => {
                let indexes: Vec<u32> = chunks.iter().map(|(index, _)| *index).collect();
                format!("Chunks s{slot} {indexes:?}")
            }
        }
    }

    fn ballot(&mut self, ballot: &Ballot) -> String {
        let Ballot { phase, view, slot, digest } = ballot;
        format!("{phase:?} v{view} s{slot} {}", self.digest(digest))
    }

    fn view_change(&mut self, change: &ViewChange) -> String {
        let claims: Vec<String> = change.claims.iter().map(|claim| self.claim(claim)).collect();
        let claims =
            if claims.is_empty() { String::new() } else { format!(" claims {}", claims.join(" and ")) };
        format!("r{} decided s{}{claims}", change.author, change.decided)
    }

    fn claim(&mut self, claim: &QuorumCertificate) -> String {
        let Ballot { phase, view, slot, digest } = &claim.ballot;
        let how = match phase {
            Phase::Prepare => "prepared",
            Phase::Commit => "decided",
        };
        format!("s{slot} {} {how} in v{view}", self.digest(digest))
    }

    fn entry(&self, entry: &Entry) -> String {
        match entry.body() {
            EntryBody::Client(request) => {
                let known = self.clients.iter().position(|client| *client == request.client);
                let client = known.map_or("a client".into(), |index| format!("c{index}"));
                format!("{client} {}", call(&request.call))
            }
            EntryBody::System(own) => {
                let decoded = smr_wire::decode::<SystemCommand>(&own.payload, own.payload.len());
                let said = decoded.map_or("what cannot be read".into(), |command| system(&command));
                format!("r{} {said}", own.author)
            }
        }
    }

    /// The name of a batch. What a letter stands for is told once.
    fn batch(&mut self, batch: &Batch) -> String {
        let digest = batch.digest();
        let name = self.digest(&digest);
        if self.names.as_ref().is_some_and(|names| names.contains_key(&digest))
            && self.explained.insert(digest)
        {
            let entries: Vec<String> = batch.entries().iter().map(|entry| self.entry(entry)).collect();
            self.fresh.push(format!("{name} is {} at {} ms", entries.join(" | "), batch.time().since(START)));
        }
        if self.names.is_some() { name } else { format!("{name}, {} entries", batch.entries().len()) }
    }

    fn digest(&mut self, digest: &Digest) -> String {
        if *digest == Batch::nil().digest() { "nil".into() } else { self.name(digest, b'A') }
    }

    /// The name of a state: a small letter.
    fn state(&mut self, digest: &Digest) -> String {
        self.name(digest, b'a')
    }

    fn name(&mut self, digest: &Digest, first: u8) -> String {
        let short = || digest.to_string()[..8].to_string();
        let Some(names) = &mut self.names else { return short() };
        if let Some(name) = names.get(digest) {
            return name.clone();
        }
        if self.hushed {
            return short();
        }
        let is_alike =
            |name: &&String| name.starts_with(|c: char| c.is_ascii_lowercase() == first.is_ascii_lowercase());
        let place = names.values().filter(is_alike).count();
        let letter = char::from(first + u8::try_from(place % 26).expect("below 26"));
        let round = place / 26;
        let name = if round == 0 { letter.to_string() } else { format!("{letter}{round}") };
        names.insert(*digest, name.clone());
        name
    }
}

fn suspects(wishes: &[Suspect]) -> String {
    let wishes: Vec<String> = wishes.iter().map(|s| format!("r{} wants v{}", s.author, s.wants)).collect();
    format!("Suspects {}", wishes.join(", "))
}

fn status(view: View, installed: bool, decided: Slot) -> String {
    format!("Status v{view}{} decided s{decided}", if installed { "" } else { ", not begun," })
}

/// A timer that runs out.
pub(crate) fn timer(timer: Timer) -> String {
    match timer {
        Timer::Consensus(timer) => format!("timer {timer:?}"),
        timer => format!("timer {timer:?}"),
    }
}

fn to_contact(frame: &ToContact) -> String {
    match frame {
        ToContact::Hello { .. } => "Hello".into(),
        ToContact::Request(request) => format!("Request {}", call(&request.call)),
    }
}

fn from_contact(frame: &FromContact) -> String {
    match frame {
        FromContact::Welcome { certificate: Some(_), .. } => "Welcome".into(),
        FromContact::Welcome { certificate: None, .. } => "Welcome without a certificate".into(),
        FromContact::Reply(reply) => {
            let slot = reply.proof.slot();
            match &reply.outcome {
                Outcome::Opened(_) => format!("Reply in s{slot}: a session"),
                outcome => format!("Reply in s{slot} #{}: {}", reply.about.number, self::outcome(outcome)),
            }
        }
        FromContact::Hint { hint, .. } => format!("Hint: {hint}"),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer(bytes) => text(bytes),
        Outcome::Opened(_) => "a session".into(),
        Outcome::Refused(refusal) => format!("refused, {refusal}"),
        Outcome::Fault(why) => format!("fault, {why}"),
    }
}

fn call(call: &Call) -> String {
    match call {
        Call::Open { .. } => "opens a session".into(),
        Call::Commands { commands, .. } => {
            let told = |command: &smr_wire::Command| format!("#{} {}", command.number, text(&command.bytes));
            commands.iter().map(told).collect::<Vec<_>>().join(", ")
        }
    }
}

fn system(command: &SystemCommand) -> String {
    match command {
        SystemCommand::Ceremony { command, .. } => match &**command {
            dkg::Command::Deal(_) => "deals".into(),
            dkg::Command::Confirm(confirm) if confirm.complaints.is_empty() => "confirms".into(),
            dkg::Command::Confirm(confirm) => {
                let dealers: Vec<String> =
                    confirm.complaints.iter().map(|c| format!("r{}", c.dealer)).collect();
                format!("confirms, complaining about {}", dealers.join(" "))
            }
            dkg::Command::Close => "closes".into(),
        },
        SystemCommand::Attested(_) => "deals, by its core".into(),
        SystemCommand::Fill { end } => format!("fills up to s{end}"),
        SystemCommand::Rejoin(voucher) => {
            format!("brings another core, in generation {}", voucher.generation)
        }
        SystemCommand::Timers { end } => format!("begins timed commands, at s{end}"),
    }
}

fn statement(statement: &Statement) -> String {
    match statement {
        Statement::Block(slot) => format!("block s{slot}"),
        Statement::Endpoints(epoch, _) => format!("endpoints e{epoch}"),
    }
}

fn ordering(observation: &Ordered) -> String {
    match observation {
        Ordered::Suspected { view, why } => format!("suspects the primary of v{view}: {why}"),
        Ordered::LeftFor(view) => format!("leaves for v{view}"),
        Ordered::Installed { view, primary } => format!("begins v{view}, whose primary is r{primary}"),
        Ordered::Equivocation { by, view, slot } => format!("sees that r{by} equivocates in v{view} s{slot}"),
        Ordered::Skewed { by, skew_ms } => format!("finds the clock of r{by} {skew_ms} ms off"),
        Ordered::CoreRefused(why) => format!("is refused by its core: {why}"),
        Ordered::Dropped { from, why } => format!("drops what r{from} says: {why}"),
    }
}

/// Characters of a command or an answer that are shown.
const SHOWN_MAX: usize = 64;

/// What a command or an answer says; of a long one the beginning.
fn text(bytes: &[u8]) -> String {
    let said = String::from_utf8_lossy(bytes);
    match said.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &said[..end], bytes.len()),
        None => said.into_owned(),
    }
}
