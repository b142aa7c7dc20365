//! Does what steps want, on a directed world.

use smr_replica::{Phase, Timer};
use smr_wire::FromContact;

use super::options::Options;
use super::record;
use super::script::{Lie, Post, Step};
use super::select::{Filter, Who, parties, replicas};
use crate::adversary;
use crate::check::linear;
use crate::history::{Ask, BankOp};
use crate::words;
use crate::world::World;
use crate::world::happenings::Letter;
use crate::world::stage::{Note, Party};

/// Letters that a step delivers at most, so that what does not end is found.
const DELIVERIES_MAX: usize = 20_000;

/// Letters that may wait after a step.
const WAITING_MAX: usize = 20_000;

/// How long a service may take to become ready, and how often somebody looks, in microseconds.
const READY_US: u64 = 10_000_000;
const READY_LOOK_US: u64 = 10_000;

/// The lines below a step, or why it cannot be done.
type Done = Result<Vec<String>, String>;

/// Plays one scenario.
#[derive(Default)]
pub(super) struct Director {
    world: Option<World>,
}

impl Director {
    /// Does a step and tells what happened.
    pub(super) fn does(&mut self, step: Step) -> Done {
        if let Step::Service(options) = step {
            return self.founds(*options);
        }
        if self.world.is_none() {
            self.founds(Options::default())?;
        }
        let world = self.world.as_mut().expect("made just now");
        let lines = does(world, step)?;
        if let Some(violation) = world.take_violation() {
            return Err(format!("{violation}\n{}", lines.join("\n")));
        }
        let waiting = world.waiting().len();
        if waiting > WAITING_MAX {
            return Err(format!("{waiting} letters wait, and {WAITING_MAX} may"));
        }
        Ok(lines)
    }

    fn founds(&mut self, options: Options) -> Done {
        if self.world.is_some() {
            return Err("`service` is the first step".into());
        }
        let seed = options.seed;
        let world = World::directed(options.setting(), seed);
        let scripted: Vec<String> = world
            .setting()
            .misdeeds
            .iter()
            .map(|(who, misdeed)| format!("; r{who}: {}", misdeed.name()))
            .collect();
        let lines = vec![format!("{} replicas{}", world.size(), scripted.concat())];
        self.world = Some(world);
        Ok(lines)
    }

    /// The script is over: what clients saw must be linearizable.
    pub(super) fn ends(&self) -> Result<(), String> {
        match &self.world {
            Some(world) if world.setting().application == "kv" => {
                linear::check_kv(world.clients().history()).map_err(|why| format!("linearizability: {why}"))
            }
            Some(_) => Ok(()),
            None => Err("the script has no step".into()),
        }
    }
}

fn does(world: &mut World, step: Step) -> Done {
    match step {
        Step::Service(_) => unreachable!("taken by the caller"),
        Step::Begin => {
            world.start();
            Ok(told(world))
        }
        Step::BeginReady => begin_ready(world),
        Step::Connect { client, contacts } => {
            known_client(world, client)?;
            let contacts = replicas(&contacts, world)?;
            let names: Vec<String> = contacts.iter().map(|contact| format!("r{contact}")).collect();
            world.remark(Note::says(Party::Client(client), format!("knows {}", names.join(" "))));
            world.connect(client, &contacts);
            Ok(told(world))
        }
        Step::Ask { client, command } => ask(world, client, &command),
        Step::Mail { what, filter } => mail(world, what, &filter),
        Step::ShowMail(filter) => {
            let places = filter.places(world)?;
            let letters: Vec<Letter> = places.iter().map(|place| world.waiting()[*place].clone()).collect();
            Ok(listed(world, &letters, filter.quietly))
        }
        Step::RunOut { timer, who, quietly } => run_out(world, timer, &who, quietly),
        Step::Look { who, quietly } => look(world, &who, quietly),
        Step::Pass { span_us, quietly } => {
            world.hush(quietly);
            world.pass(span_us);
            Ok(ended(world, quietly))
        }
        Step::Isolate(who) => {
            let island = parties(&who, world)?;
            let lost = world.isolate(&island);
            let names: Vec<String> = island.iter().map(Party::to_string).collect();
            Ok(vec![format!("{} cut off, {lost} letters lost", names.join(" "))])
        }
        Step::Heal => {
            world.mend();
            Ok(vec!["no cuts".into()])
        }
        Step::Forge { lie, from, to } => forge(world, lie, &from, &to),
        Step::Miscompute(who) => {
            for machine in replicas(&who, world)? {
                must_follow(world, machine)?;
                world.miscompute(machine);
                let words = "computes something else from now on".into();
                world.remark(Note::says(Party::Replica(machine), words));
            }
            Ok(told(world))
        }
        Step::Status(who) => status(world, &who),
        Step::Timers(who) => timers(world, &who),
    }
}

fn told(world: &mut World) -> Vec<String> {
    record::told(world.take_notes(), world.size())
}

/// The record of a step that was, or was not, done quietly.
fn ended(world: &mut World, quietly: bool) -> Vec<String> {
    world.hush(false);
    if quietly { record::tallied(world.take_notes()) } else { told(world) }
}

fn known_client(world: &World, client: usize) -> Result<(), String> {
    if client < world.setting().clients { Ok(()) } else { Err(format!("there is no c{client}")) }
}

fn must_follow(world: &World, machine: usize) -> Result<(), String> {
    if world.follows_script(machine) {
        Ok(())
    } else {
        Err(format!("r{machine} does not lie; begin with `service r{machine}=follow-script`"))
    }
}

fn begin_ready(world: &mut World) -> Done {
    world.hush(true);
    world.start();
    let until_us = world.now_us() + READY_US;
    loop {
        stabilize(world, &Filter::default())?;
        let correct = world.survivors();
        let stands: Vec<_> = correct.iter().map(|machine| world.status(*machine)).collect();
        let is_ready = stands.iter().all(|s| s.phase == Phase::Ready && s.executed == stands[0].executed);
        if is_ready {
            let mut lines = vec![format!("all are ready at s{}", stands[0].executed)];
            lines.extend(ended(world, true).into_iter().filter(|line| line.starts_with("delivered")));
            return Ok(lines);
        }
        if world.now_us() >= until_us {
            return Err("the service does not become ready by itself".into());
        }
        world.pass(READY_LOOK_US);
    }
}

fn ask(world: &mut World, client: usize, command: &str) -> Done {
    known_client(world, client)?;
    let ask = match world.setting().application.as_str() {
        "kv" => {
            Ask::of_store(command).ok_or("say get K, put K V, delete K or cas K OLD NEW, in single words")?
        }
        _ => Ask::Bank(BankOp::Neutral(command.into())),
    };
    let is_write =
        command.starts_with("put ") || command.starts_with("cas ") || command.starts_with("deposit ");
    let is_known = |record: &crate::history::Record| record.client == client && record.ask == ask;
    if is_write && world.clients().history().iter().any(is_known) {
        return Err(
            "a client writes each value once, as otherwise a command executed twice could not be told".into(),
        );
    }
    world.ask(client, ask);
    Ok(told(world))
}

fn mail(world: &mut World, what: Post, filter: &Filter) -> Done {
    world.hush(true);
    let places = filter.places(world)?;
    if places.is_empty() {
        let waiting: Vec<Letter> = world.waiting().iter().cloned().collect();
        let waiting = listed(world, &waiting, false);
        return Err(format!("no letter is meant; there wait:\n{}", waiting.join("\n")));
    }
    world.hush(filter.quietly);
    match what {
        Post::Deliver => {
            taken(world, &places).into_iter().for_each(|letter| world.arrives(letter));
            Ok(ended(world, filter.quietly))
        }
        Post::Stabilize => {
            stabilize(world, filter)?;
            Ok(ended(world, filter.quietly))
        }
        Post::Drop => {
            let letters = taken(world, &places);
            Ok(listed(world, &letters, filter.quietly))
        }
        Post::Copy => {
            let copies: Vec<Letter> = places.iter().map(|place| world.waiting()[*place].clone()).collect();
            copies.into_iter().for_each(|letter| world.arrives(letter));
            Ok(ended(world, filter.quietly))
        }
        Post::Alter => {
            places.iter().try_for_each(|place| alter(world, *place))?;
            Ok(ended(world, filter.quietly))
        }
    }
}

/// Takes the letters at `places`, in that order.
fn taken(world: &mut World, places: &[usize]) -> Vec<Letter> {
    let mut left = places.to_vec();
    let mut letters = Vec::new();
    for index in 0..left.len() {
        let place = left[index];
        letters.push(world.take_letter(place));
        left[index + 1..].iter_mut().filter(|later| **later > place).for_each(|later| *later -= 1);
    }
    letters
}

/// Delivers what the filter means until nothing of that waits.
fn stabilize(world: &mut World, filter: &Filter) -> Result<(), String> {
    for _ in 0..DELIVERIES_MAX {
        let Some(place) = filter.places(world)?.first().copied() else { return Ok(()) };
        let letter = world.take_letter(place);
        world.arrives(letter);
    }
    Err(format!("it does not end within {DELIVERIES_MAX} deliveries"))
}

/// The sender of the letter at `place` says something else instead.
fn alter(world: &mut World, place: usize) -> Result<(), String> {
    let letter = world.take_letter(place);
    let (from, to) = letter.ends();
    let before = world.words_of(&letter);
    let Party::Replica(machine) = from else { return Err(format!("{from} does not lie")) };
    must_follow(world, machine)?;
    let no_lie = || format!("no lie is known for {before}");
    let letter = match letter {
        Letter::Peer { from, to, generation, message } => {
            let message = world.twist(machine, message).ok_or_else(no_lie)?;
            Letter::Peer { from, to, generation, message }
        }
        Letter::ToClient { client, contact, frame: FromContact::Reply(mut reply) } => {
            adversary::lie(&mut reply);
            Letter::ToClient { client, contact, frame: FromContact::Reply(reply) }
        }
        Letter::ToClient { .. } | Letter::ToContact { .. } => return Err(no_lie()),
    };
    let after = world.words_of(&letter);
    let words = if after == before {
        format!("{before} becomes a bad one")
    } else {
        format!("{before} becomes {after}")
    };
    world.put_letter(place, letter);
    world.remark(Note::Arrives { from, to, words });
    Ok(())
}

/// Letters, without anything that follows from them.
fn listed(world: &mut World, letters: &[Letter], quietly: bool) -> Vec<String> {
    world.hush(quietly);
    for letter in letters {
        let (from, to) = letter.ends();
        let words = world.words_of(letter);
        world.remark(Note::Arrives { from, to, words });
    }
    world.hush(false);
    let lines = ended(world, quietly);
    lines.into_iter().map(|line| line.replacen("delivered ", "", 1)).collect()
}

fn run_out(world: &mut World, timer: Timer, who: &[Who], quietly: bool) -> Done {
    world.hush(quietly);
    for machine in replicas(who, world)? {
        if !world.run_out(machine, timer) {
            let armed = timers(world, &[Who::Replica(machine)])?;
            return Err(format!("that timer of r{machine} is not armed; {}", armed.join("; ")));
        }
    }
    Ok(ended(world, quietly))
}

fn look(world: &mut World, who: &[Who], quietly: bool) -> Done {
    world.hush(quietly);
    for party in parties(who, world)? {
        let Party::Client(client) = party else { return Err(format!("say which timer of {party} runs out")) };
        if !world.run_out_client(client) {
            return Err(format!("c{client} waits for nothing"));
        }
    }
    Ok(ended(world, quietly))
}

fn forge(world: &mut World, lie: Lie, from: &[Who], to: &[Who]) -> Done {
    let receivers = replicas(to, world)?;
    for machine in replicas(from, world)? {
        must_follow(world, machine)?;
        let generation = world.replica(machine).group().generation;
        let message = match lie {
            Lie::Pruned(slot) => world.pruned(machine, slot).expect("it follows the script"),
            Lie::Status(view, decided) => world.claim(machine, view, decided).expect("it follows the script"),
            Lie::Suspects(wants) => world.wish(machine, wants).expect("it follows the script"),
        };
        for to in receivers.iter().copied().filter(|to| *to != machine) {
            let message = message.clone();
            world.send(&Letter::Peer { from: machine, to, generation, message });
        }
    }
    Ok(told(world))
}

fn status(world: &mut World, who: &[Who]) -> Done {
    for machine in replicas(who, world)? {
        let status = world.status(machine);
        let waits = if status.waiting == 0 { String::new() } else { format!(", {} waiting", status.waiting) };
        let words = format!(
            "{:?} v{} decided s{} executed s{} stable s{}{waits}",
            status.phase, status.view, status.decided, status.executed, status.stable
        );
        world.remark(Note::RunsOut { who: Party::Replica(machine), words });
    }
    Ok(told(world))
}

fn timers(world: &mut World, who: &[Who]) -> Done {
    for machine in replicas(who, world)? {
        let armed: Vec<String> = world
            .armed(machine)
            .iter()
            .map(|(timer, ms)| format!("{} in {ms} ms", words::timer(*timer)))
            .collect();
        let words = if armed.is_empty() { "no timer".into() } else { armed.join(", ") };
        world.remark(Note::RunsOut { who: Party::Replica(machine), words });
    }
    Ok(told(world))
}
