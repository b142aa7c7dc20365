//! A world that a script directs: what is sent waits until the script delivers it, timers run out when the script
//! says so, and a machine's own work takes no time.

use std::collections::VecDeque;
use std::fmt;

use smr_replica::{Event, Message, Timer};
use smr_wire::{Slot, View};

use super::happenings::{Happening, Letter};
use super::{Setting, World};
use crate::adversary::Twist;
use crate::history::Ask;
use crate::host::Machine;
use crate::observe::Violation;
use crate::trace::Trace;
use crate::words::{self, Words};

/// Who sends and receives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Party {
    /// A replica, by its index.
    Replica(usize),
    /// A client, by its index.
    Client(usize),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Replica(index) => write!(f, "r{index}"),
            Party::Client(index) => write!(f, "c{index}"),
        }
    }
}

/// What is worth a line in a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// A letter arrives.
    Arrives { from: Party, to: Party, words: String },
    /// Something comes to a party that nobody sent: a timer runs out, or a script looks at it.
    RunsOut { who: Party, words: String },
    /// A letter is sent, and waits or is lost.
    Sends { from: Party, to: Party, words: String, lost: bool },
    /// Something shows at a party.
    Says { who: Party, words: String },
    /// What a letter of the alphabet stands for.
    Means(String),
}

impl Note {
    pub(crate) fn says(who: Party, words: String) -> Note {
        Note::Says { who, words }
    }
}

/// What a directed world has beside others.
#[derive(Debug)]
pub(crate) struct Stage {
    waiting: VecDeque<Letter>,
    notes: Vec<Note>,
    words: Words,
}

impl World {
    /// A service that a script directs, in which nothing happens by itself.
    pub(crate) fn directed(setting: Setting, seed: u64) -> World {
        let mut world = World::still(setting, seed, Trace::off());
        let clients = (0..world.setting.clients).map(|client| world.clients.id(client)).collect();
        let words = Words::naming(clients);
        world.stage = Some(Stage { waiting: VecDeque::new(), notes: Vec::new(), words });
        world
    }

    /// What waits to be delivered, the oldest first.
    pub(crate) fn waiting(&self) -> &VecDeque<Letter> {
        &self.stage.as_ref().expect("a directed world").waiting
    }

    fn stage(&mut self) -> &mut Stage {
        self.stage.as_mut().expect("a directed world")
    }

    /// Takes the letter at `place` among those that wait.
    pub(crate) fn take_letter(&mut self, place: usize) -> Letter {
        self.stage().waiting.remove(place).expect("a letter that waits")
    }

    /// Puts a letter at `place` among those that wait.
    pub(crate) fn put_letter(&mut self, place: usize, letter: Letter) {
        self.stage().waiting.insert(place, letter);
    }

    /// What a letter says.
    pub(crate) fn words_of(&mut self, letter: &Letter) -> String {
        self.stage().words.letter(letter)
    }

    /// Gives digests no new names for now, or does so again.
    pub(crate) fn hush(&mut self, hushed: bool) {
        self.stage().words.hush(hushed);
    }

    /// What was noted since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.stage().notes)
    }

    /// The property that failed, if one did.
    pub(crate) fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    /// Notes something, if a script directs this world.
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Words) -> Note) {
        if let Some(stage) = &mut self.stage {
            let note = note(&mut stage.words);
            stage.notes.push(note);
            stage.notes.extend(stage.words.take_fresh().into_iter().map(Note::Means));
        }
    }

    /// Notes something that is no happening.
    pub(crate) fn remark(&mut self, note: Note) {
        self.note(|_| note);
    }

    /// Somebody sends a letter because the script says so.
    pub(crate) fn send(&mut self, letter: &Letter) {
        self.dispatch(letter);
    }

    /// A letter waits for its delivery, or is lost if the network does not let it through.
    pub(super) fn hold(&mut self, letter: &Letter, passes: bool) {
        let (from, to) = letter.ends();
        self.note(|words| Note::Sends { from, to, words: words.letter(letter), lost: !passes });
        if passes {
            self.stage().waiting.push_back(letter.clone());
        }
    }

    /// A letter arrives, and what its receiver does by itself happens.
    pub(crate) fn arrives(&mut self, letter: Letter) {
        let (from, to) = letter.ends();
        self.note(|words| Note::Arrives { from, to, words: words.letter(&letter) });
        self.happen(Happening::Arrival(letter));
        self.settle();
    }

    /// All replicas start.
    pub(crate) fn start(&mut self) {
        for machine in 0..self.machines.len() {
            self.happen(Happening::Event { machine, event: Event::Start });
            self.settle();
        }
    }

    /// A timer of a replica runs out, though no time passes. False if it is not armed.
    pub(crate) fn run_out(&mut self, machine: usize, timer: Timer) -> bool {
        if self.machines[machine].timers.remove(&timer).is_none() {
            return false;
        }
        self.note(|_| Note::RunsOut { who: Party::Replica(machine), words: words::timer(timer) });
        self.happen(Happening::Event { machine, event: Event::Timer(timer) });
        self.settle();
        true
    }

    /// The clock goes to where a client next looks at it; timers of replicas do not run out. False if it waits for
    /// nothing.
    pub(crate) fn run_out_client(&mut self, client: usize) -> bool {
        let Some(due_us) = self.clients.next_wake_us(client) else { return false };
        self.now_us = self.now_us.max(due_us);
        self.note(|_| Note::RunsOut { who: Party::Client(client), words: "looks at its clock".into() });
        self.happen(Happening::Client { client });
        self.settle();
        true
    }

    /// Time passes, and all timers that run out meanwhile do, in their order.
    pub(crate) fn pass(&mut self, span_us: u64) {
        let until_us = self.now_us + span_us;
        while let Some(((due_us, _), _)) = self.queue.first_key_value()
            && *due_us <= until_us
        {
            let ((due_us, _), happening) = self.queue.pop_first().expect("looked at just now");
            self.now_us = self.now_us.max(due_us);
            match happening {
                Happening::Timer { machine, timer, due_us } => {
                    if self.machines[machine].timers.get(&timer) == Some(&due_us) {
                        self.run_out(machine, timer);
                    }
                }
                other => self.happen(other),
            }
            self.settle();
        }
        self.now_us = until_us;
    }

    /// Does what machines have to do by themselves.
    fn settle(&mut self) {
        let own =
            |happening: &Happening| matches!(happening, Happening::Event { .. } | Happening::Chunk { .. });
        while let Some(key) = self.queue.iter().find(|(_, h)| own(h)).map(|(key, _)| *key) {
            let happening = self.queue.remove(&key).expect("found just now");
            self.happen(happening);
        }
    }

    /// A client knows these contacts from now on.
    pub(crate) fn connect(&mut self, client: usize, contacts: &[usize]) {
        self.clients.connect(client, contacts, self.now_us);
        self.serve_client(client);
    }

    /// A client asks for something.
    pub(crate) fn ask(&mut self, client: usize, ask: Ask) {
        self.clients.ask(client, ask, self.now_us);
        self.serve_client(client);
    }

    /// Cuts `island` off from all others. What waits across the cut is lost: how much that is.
    pub(crate) fn isolate(&mut self, island: &[Party]) -> usize {
        let hosts = island.iter().map(|party| self.host(*party)).collect();
        self.network.cut(hosts);
        let before = self.waiting().len();
        self.stage().waiting.retain(|letter| {
            let (from, to) = letter.ends();
            island.contains(&from) == island.contains(&to)
        });
        before - self.waiting().len()
    }

    /// Mends all cuts.
    pub(crate) fn mend(&mut self) {
        self.network.heal();
    }

    /// How many replicas there are.
    pub(crate) fn size(&self) -> usize {
        self.machines.len()
    }

    /// The highest view that has begun for a correct replica.
    pub(crate) fn view(&self) -> View {
        let correct = (0..self.size()).filter(|machine| self.is_correct(*machine));
        let begun = correct.map(|machine| self.status(machine)).filter(|status| {
            let changing = status.phase == smr_replica::status::Phase::ChangingView;
            !changing
        });
        begun.map(|status| status.view).max().unwrap_or_default()
    }

    /// Who proposes next, as the correct replica knows that is furthest on.
    pub(crate) fn proposes_next(&self) -> usize {
        let correct = (0..self.size()).filter(|machine| self.is_correct(*machine));
        let stands = correct.map(|machine| self.status(machine)).filter(|status| status.view == self.view());
        stands.max_by_key(|status| status.decided).map_or(0, |status| status.primary.index())
    }

    /// Who says how a view begins.
    pub(crate) fn begins(&self, view: View) -> usize {
        self.group.primary_of(view).index()
    }

    /// Timers of a replica that are armed, and how long they run yet, in ms.
    pub(crate) fn armed(&self, machine: usize) -> Vec<(Timer, u64)> {
        let timers = &self.machines[machine].timers;
        timers.iter().map(|(timer, due_us)| (*timer, due_us.saturating_sub(self.now_us) / 1000)).collect()
    }

    /// Whether a replica says what the script says.
    pub(crate) fn follows_script(&self, machine: usize) -> bool {
        self.machines[machine].adversary.as_ref().is_some_and(crate::adversary::Adversary::follows_script)
    }

    /// What a replica that follows the script says instead of `message`; none if nothing else is known.
    pub(crate) fn twist(&mut self, machine: usize, message: Message) -> Option<Message> {
        let Machine { adversary, core, .. } = &mut self.machines[machine];
        let Twist { message, refusal } = adversary.as_ref()?.twist(message, core.as_mut())?;
        if let Some(why) = refusal {
            let words = format!("is refused another vote by its core: {why}");
            self.remark(Note::says(Party::Replica(machine), words));
        }
        Some(message)
    }

    /// What such a replica says of where it stands.
    pub(crate) fn claim(&self, machine: usize, view: View, decided: Slot) -> Option<Message> {
        let adversary = self.machines[machine].adversary.as_ref();
        adversary.map(|adversary| adversary.claim(view, decided))
    }

    /// The wish of a replica that follows the script for another view.
    pub(crate) fn wish(&self, machine: usize, wants: View) -> Option<Message> {
        self.machines[machine].adversary.as_ref().map(|adversary| adversary.wish(wants))
    }

    /// What such a replica says in place of decisions: that there is a state up to `slot` instead.
    pub(crate) fn pruned(&self, machine: usize, slot: Slot) -> Option<Message> {
        self.machines[machine].adversary.as_ref().map(|adversary| adversary.pruned(slot))
    }

    /// The application of a replica that follows the script computes something else from now on.
    pub(crate) fn miscompute(&mut self, machine: usize) {
        if let Some(adversary) = &mut self.machines[machine].adversary {
            adversary.miscompute();
        }
    }
}
