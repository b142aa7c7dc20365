//! `ebawa-classic`: the published protocol as it can be reconstructed (`docs/ebawa-classic.md` says what of it is not known),
//! for three replicas of which one may fail. All of it is here: streams of messages, what a replica does with them, steps.
//!
//! Every message takes the next number of its sender's trusted counter, and whoever receives it must have processed all
//! earlier ones of that sender. So a replica's stream is all that it ever says, and a network is nothing but how far
//! each has come in the streams of the others.

use std::fmt::{self, Display, Formatter};

/// Replicas (2f+1, f = 1).
pub(crate) const SIZE: usize = 3;
const QUORUM: usize = 2;

/// Which variant, and how large a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Who was taken over, but for its counter.
    pub(crate) faulty: Option<usize>,
    /// Views that can be entered: each has one agreement.
    pub(crate) views: usize,
    /// Who is on everybody's blacklist when the case begins, put there by earlier merges that all took part in.
    pub(crate) listed: Option<usize>,
    /// What becomes of the blacklist.
    pub(crate) blacklist: Blacklist,
    /// Executed batches between checkpoints; none without.
    pub(crate) checkpoint_every: Option<usize>,
    /// In which order a replica takes what another one says.
    pub(crate) order: Order,
    /// Whether a replica may take over the state of a stable checkpoint.
    pub(crate) transfer: Transfer,
    /// Whether replicas may lose patience.
    pub(crate) patience: Patience,
}

/// What becomes of the blacklist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blacklist {
    /// Each replica puts the primary of a view on it when it takes part in that view's merge.
    Local,
    /// It stays as it is: the control.
    Fixed,
}

/// In which order a replica takes what another one says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// By the counter, none left out.
    Sequential,
    /// As it comes, as if a message were bound to its view only: the control.
    AsItComes,
}

/// Whether there is state transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transfer {
    None,
    OfCheckpoints,
}

/// Whether timers may run out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    Endless,
    MayRunOut,
}

/// A batch: who made it, for which view.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Batch {
    by: usize,
    view: usize,
}

impl Display for Batch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let letter = u8::try_from(SIZE * self.view + self.by).map_or('?', |place| char::from(b'A' + place));
        write!(f, "{letter}")
    }
}

pub(crate) fn list(batches: &[Batch]) -> String {
    let names: Vec<String> = batches.iter().map(Batch::to_string).collect();
    if names.is_empty() { "nothing".into() } else { names.join(" ") }
}

/// What was proposed in a view, and by whom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Proposal {
    pub(crate) view: usize,
    by: usize,
    pub(crate) batches: Vec<Batch>,
    /// Whether it begins a view after a merge, and so carries what may have been accepted before.
    merges: bool,
}

/// A message; its number is its place in its sender's stream.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Message {
    /// PREPARE, or PREPARE-MERGE.
    Prepare(Proposal),
    Commit(Proposal),
    /// The view failed for its sender, which signed a PREPARE or COMMIT for these before.
    Merge {
        view: usize,
        signed: Vec<Proposal>,
    },
    /// So many batches are executed.
    Checkpoint(usize),
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Message::Prepare(Proposal { view, batches, merges, .. }) => {
                let word = if *merges { "PREPARE-MERGE" } else { "PREPARE" };
                write!(f, "{word} of view {view}: {}", list(batches))
            }
            Message::Commit(Proposal { view, by, batches, .. }) => {
                write!(f, "COMMIT in view {view} to r{by}'s {}", list(batches))
            }
            Message::Merge { view, signed } => {
                let told: Vec<String> = signed.iter().map(|p| list(&p.batches)).collect();
                let told = if told.is_empty() { "nothing".into() } else { told.join(", ") };
                write!(f, "MERGE of view {view}, has signed for {told}")
            }
            Message::Checkpoint(executed) => write!(f, "CHECKPOINT after {executed}"),
        }
    }
}

impl Message {
    fn matters_to(&self, replica: &Replica) -> bool {
        match self {
            Message::Prepare(proposal) | Message::Commit(proposal) => proposal.view >= replica.view,
            Message::Merge { view, .. } => *view >= replica.view,
            Message::Checkpoint(executed) => *executed > replica.stable,
        }
    }
}

/// Where a replica stands in its view.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Standing {
    /// It accepted the view before, and takes a proposal.
    Ready,
    /// It has given the view up and waits for f+1 who did.
    Merging,
    /// The view before was merged: only a proposal that carries what came of it will do.
    Merged,
}

/// One replica. What it has heard of whom is a set of numbers, as bits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Replica {
    pub(crate) view: usize,
    pub(crate) standing: Standing,
    /// At most f, so one: a newcomer takes its place.
    pub(crate) blacklist: Option<usize>,
    pub(crate) executed: Vec<Batch>,
    heard: [u32; SIZE],
    /// Executed batches at the last checkpoint that f+1 signed.
    pub(crate) stable: usize,
}

/// Everything: the replicas, all that they said, and the first number that each still keeps and repeats.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct World {
    pub(crate) replicas: [Replica; SIZE],
    pub(crate) streams: [Vec<Message>; SIZE],
    pub(crate) kept_from: [usize; SIZE],
}

/// What may happen next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A replica takes a message of another one, by its number from 0.
    Take { who: usize, of: usize, number: usize },
    /// A replica's timer runs out.
    LosePatience { who: usize },
    /// A replica drops what it said before its last stable checkpoint; copies that are under way are lost.
    Drop { who: usize },
    /// A replica takes over the state of another one's stable checkpoint.
    Install { who: usize, of: usize },
    /// The faulty replica has its counter sign something.
    Lie(Message),
}

impl World {
    pub(crate) fn new(case: &Case) -> World {
        let replica = Replica {
            view: 0,
            standing: Standing::Ready,
            blacklist: case.listed,
            executed: Vec::new(),
            heard: [0; SIZE],
            stable: 0,
        };
        let mut world = World {
            replicas: std::array::from_fn(|_| replica.clone()),
            streams: std::array::from_fn(|_| Vec::new()),
            kept_from: [0; SIZE],
        };
        correct(case).for_each(|who| world.go_on(who, case));
        world
    }

    /// All that may happen.
    pub(crate) fn steps(&self, case: &Case) -> Vec<Step> {
        let mut steps = Vec::new();
        for who in correct(case) {
            for of in (0..SIZE).filter(|of| *of != who) {
                steps.extend(self.within_reach(who, of, case).map(|number| Step::Take { who, of, number }));
                if case.transfer == Transfer::OfCheckpoints
                    && self.replicas[of].stable > self.replicas[who].executed.len()
                {
                    steps.push(Step::Install { who, of });
                }
            }
            let Replica { view, standing, .. } = self.replicas[who];
            // In the last view of the bounds nothing would come of it.
            let impatient = standing != Standing::Merging && view + 1 < case.views;
            if impatient && case.patience == Patience::MayRunOut {
                steps.push(Step::LosePatience { who });
            }
            if self.may_drop(who) > self.kept_from[who] {
                steps.push(Step::Drop { who });
            }
        }
        steps.extend(case.faulty.iter().flat_map(|liar| self.lies(*liar, case)).map(Step::Lie));
        steps
    }

    /// What follows from a step.
    pub(crate) fn after(&self, step: &Step, case: &Case) -> World {
        let mut next = self.clone();
        match step {
            Step::Take { who, of, number } => {
                next.replicas[*who].heard[*of] |= 1 << number;
                next.go_on(*who, case);
            }
            Step::LosePatience { who } => {
                next.give_up(*who);
                next.go_on(*who, case);
            }
            Step::Drop { who } => next.kept_from[*who] = self.may_drop(*who),
            Step::Install { who, of } => {
                let source = &self.replicas[*of];
                let state = source.executed[..source.stable].to_vec();
                let replica = &mut next.replicas[*who];
                // Without merges each view executes one batch.
                (replica.view, replica.stable, replica.executed) = (state.len(), state.len(), state);
                next.go_on(*who, case);
            }
            Step::Lie(message) => {
                let liar = case.faulty.expect("only it lies");
                next.streams[liar].push(message.clone());
            }
        }
        next
    }

    /// Whom a replica takes for the primary of a view: the first from `view` on that is not on its blacklist.
    pub(crate) fn primary(&self, who: usize, view: usize) -> usize {
        let is_out = |id: &usize| self.replicas[who].blacklist == Some(*id);
        let turns = (view..view + SIZE).map(|turn| turn % SIZE);
        turns.into_iter().find(|id| !is_out(id)).expect("at most f are out")
    }

    /// Numbers of the messages of `of` that `who` can take now.
    fn within_reach(&self, who: usize, of: usize, case: &Case) -> impl Iterator<Item = usize> {
        let (replica, order) = (&self.replicas[who], case.order);
        let heard = replica.heard[of];
        let may_take = move |number: usize, message: &Message| match order {
            Order::Sequential => heard.trailing_ones() as usize == number,
            // What is of a view that is over would show nothing.
            Order::AsItComes => heard & (1 << number) == 0 && message.matters_to(replica),
        };
        let kept = self.streams[of].iter().enumerate().skip(self.kept_from[of]);
        kept.filter(move |(number, message)| may_take(*number, message)).map(|(number, _)| number)
    }

    /// The number of the next message of `of` that `who` must take, if it does not exist any more.
    pub(crate) fn waits_in_vain(&self, who: usize, of: usize) -> Option<usize> {
        let next = self.replicas[who].heard[of].trailing_ones() as usize;
        (who != of && next < self.kept_from[of]).then_some(next)
    }

    /// What `who` knows of the stream of `of`, in order.
    fn known(&self, who: usize, of: usize) -> impl Iterator<Item = &Message> {
        let heard = self.replicas[who].heard[of];
        let all = self.streams[of].iter().enumerate();
        all.filter(move |(number, _)| who == of || heard & (1 << number) != 0).map(|(_, message)| message)
    }

    /// The message at which the log of `who` begins once its stable checkpoint is taken into account: the checkpoint's.
    fn may_drop(&self, who: usize) -> usize {
        let is_it = |m: &Message| matches!(m, Message::Checkpoint(at) if *at == self.replicas[who].stable);
        self.streams[who].iter().position(is_it).unwrap_or_default()
    }

    /// Does all that a correct replica has to do by itself.
    fn go_on(&mut self, who: usize, case: &Case) {
        while self.replicas[who].view < case.views
            && (self.propose(who) || self.accept(who, case) || self.join(who, case))
        {}
        let at = self.replicas[who].executed.len();
        let votes = |at| move |m: &Message| matches!(m, Message::Checkpoint(other) if *other == at);
        let voters = (0..SIZE).filter(|of| self.known(who, *of).any(votes(at))).count();
        if voters >= QUORUM {
            self.replicas[who].stable = at;
        }
    }

    fn propose(&mut self, who: usize) -> bool {
        let Replica { view, standing, .. } = self.replicas[who];
        let mine = self.primary(who, view) == who && standing == Standing::Ready;
        if !mine || self.streams[who].iter().any(|m| matches!(m, Message::Prepare(p) if p.view == view)) {
            return false;
        }
        let batches = vec![Batch { by: who, view }];
        self.say(who, Message::Prepare(Proposal { view, by: who, batches, merges: false }));
        true
    }

    /// The proposal of its view that a replica takes: the first of its primary, which the counter makes the only one.
    fn proposal(&self, who: usize) -> Option<Proposal> {
        let Replica { view, standing, .. } = self.replicas[who];
        let primary = self.primary(who, view);
        let first = self.before_merge(who, primary, view).find_map(|message| match message {
            Message::Prepare(proposal) if proposal.view == view => Some(proposal.clone()),
            _ => None,
        });
        first.filter(|proposal| match standing {
            Standing::Ready => true,
            Standing::Merged => proposal.merges,
            Standing::Merging => false,
        })
    }

    fn accept(&mut self, who: usize, case: &Case) -> bool {
        let Some(proposal) = self.proposal(who) else { return false };
        if proposal.by != who && !self.has_committed(who, who, &proposal) {
            self.say(who, Message::Commit(proposal));
            return true;
        }
        let commits = (0..SIZE).filter(|of| *of == proposal.by || self.has_committed(who, *of, &proposal));
        if commits.count() < QUORUM {
            return false;
        }
        let replica = &mut self.replicas[who];
        for batch in proposal.batches {
            if !replica.executed.contains(&batch) {
                replica.executed.push(batch);
            }
        }
        (replica.view, replica.standing) = (replica.view + 1, Standing::Ready);
        let executed = replica.executed.len();
        if case.checkpoint_every.is_some_and(|every| executed.is_multiple_of(every)) {
            self.say(who, Message::Checkpoint(executed));
        }
        true
    }

    /// Whether `who` knows that `of` committed to it.
    fn has_committed(&self, who: usize, of: usize, proposal: &Proposal) -> bool {
        let mut in_view = self.before_merge(who, of, proposal.view);
        in_view.any(|message| matches!(message, Message::Commit(p) if p == proposal))
    }

    /// What `who` knows that `of` said before it gave `view` up: what it says of that view later does not count.
    fn before_merge(&self, who: usize, of: usize, view: usize) -> impl Iterator<Item = &Message> {
        self.known(who, of).take_while(move |m| !matches!(m, Message::Merge { view: v, .. } if *v == view))
    }

    /// Leaves a view that f+1 gave up: its primary goes to the blacklist, and the next one tells what came of it.
    fn join(&mut self, who: usize, case: &Case) -> bool {
        let view = self.replicas[who].view;
        let gave_up = |of: &usize| {
            self.known(who, *of).any(|m| matches!(m, Message::Merge { view: v, .. } if *v == view))
        };
        let merging: Vec<usize> = (0..SIZE).filter(gave_up).take(QUORUM).collect();
        if merging.len() < QUORUM {
            return false;
        }
        self.give_up(who);
        let blamed = self.primary(who, view);
        let replica = &mut self.replicas[who];
        if case.blacklist == Blacklist::Local {
            replica.blacklist = Some(blamed);
        }
        (replica.view, replica.standing) = (view + 1, Standing::Merged);
        if self.primary(who, view + 1) == who && view + 1 < case.views {
            let merged = self.merged(who, view, &merging);
            self.say(who, Message::Prepare(merged));
        }
        true
    }

    /// What the next primary proposes after these gave `view` up: all that may have been accepted, and a batch of its own.
    fn merged(&self, by: usize, view: usize, merging: &[usize]) -> Proposal {
        let told = |of: &usize| {
            self.streams[*of].iter().find_map(|message| match message {
                Message::Merge { view: v, signed } if *v == view => Some(signed.clone()),
                _ => None,
            })
        };
        let mut signed: Vec<Proposal> = merging.iter().filter_map(told).flatten().collect();
        signed.sort();
        let mut batches: Vec<Batch> = Vec::new();
        for batch in
            signed.into_iter().flat_map(|proposal| proposal.batches).chain([Batch { by, view: view + 1 }])
        {
            if !batches.contains(&batch) {
                batches.push(batch);
            }
        }
        Proposal { view: view + 1, by, batches, merges: true }
    }

    /// Says that its view failed, once.
    fn give_up(&mut self, who: usize) {
        let Replica { view, standing, .. } = self.replicas[who];
        if standing != Standing::Merging {
            let merge = self.merge(who, view);
            self.say(who, merge);
            self.replicas[who].standing = Standing::Merging;
        }
    }

    /// A MERGE with all that it signed for: the counter leaves no way to hide some of it.
    fn merge(&self, who: usize, view: usize) -> Message {
        let signed = self.streams[who].iter().filter_map(|message| match message {
            Message::Prepare(proposal) | Message::Commit(proposal) => Some(proposal.clone()),
            Message::Merge { .. } | Message::Checkpoint(_) => None,
        });
        Message::Merge { view, signed: signed.collect() }
    }

    fn say(&mut self, who: usize, message: Message) {
        self.streams[who].push(message);
    }

    /// What the faulty replica may have signed next, if others could make use of it.
    fn lies(&self, liar: usize, case: &Case) -> Vec<Message> {
        let mut lies = Vec::new();
        let others = || (0..SIZE).filter(|of| *of != liar);
        for view in 0..case.views {
            if others().any(|who| self.primary(who, view) == liar) {
                let batches = vec![Batch { by: liar, view }];
                lies.push(Message::Prepare(Proposal { view, by: liar, batches, merges: false }));
                let gave_up = |of: &usize| {
                    self.streams[*of]
                        .iter()
                        .any(|m| matches!(m, Message::Merge { view: v, .. } if v + 1 == view))
                };
                let merging: Vec<usize> = (0..SIZE).filter(gave_up).collect();
                for pair in (0..merging.len()).flat_map(|a| (a + 1..merging.len()).map(move |b| [a, b])) {
                    let merged = self.merged(liar, view - 1, &pair.map(|place| merging[place]));
                    lies.push(Message::Prepare(merged));
                }
            }
            if view + 1 < case.views {
                lies.push(self.merge(liar, view));
            }
        }
        let proposals = others().flat_map(|of| &self.streams[of]).filter_map(|message| match message {
            Message::Prepare(proposal) => Some(Message::Commit(proposal.clone())),
            _ => None,
        });
        lies.extend(proposals);
        let same_place = |said: &Message, lie: &Message| match (said, lie) {
            (Message::Prepare(a), Message::Prepare(b)) => (a.view, a.merges) == (b.view, b.merges),
            (Message::Merge { view: a, .. }, Message::Merge { view: b, .. }) => a == b,
            (said, lie) => said == lie,
        };
        lies.retain(|lie| !self.streams[liar].iter().any(|said| same_place(said, lie)));
        lies
    }
}

/// Everybody but the liar.
pub(crate) fn correct(case: &Case) -> impl Iterator<Item = usize> + use<> {
    let faulty = case.faulty;
    (0..SIZE).filter(move |who| Some(*who) != faulty)
}
