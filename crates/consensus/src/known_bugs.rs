//! Known ways to get ordering wrong, which tests switch on to see that the checks find them.

use smr_known_bugs::Bug;

/// In `quorum`: what two quorums share may be nobody.
pub static HALF_IS_A_QUORUM: Bug = Bug {
    name: "half-is-a-quorum",
    what: "n/2 votes decide, so two quorums need not share a correct replica.",
    source: "PBFT, section 4: quorums of 2f+1",
};

/// In `check_signatures`: whoever votes again counts again.
pub static COUNTS_A_VOTE_AGAIN: Bug = Bug {
    name: "counts-a-vote-again",
    what: "A certificate may hold one replica's vote as often as it takes.",
    source: "bft-smart/library #62: enough messages instead of enough voters",
};

/// In `check_signatures`: any number of votes.
pub static ACCEPTS_SHORT_CERTIFICATES: Bug = Bug {
    name: "accepts-short-certificates",
    what: "A certificate convinces with fewer votes than a quorum, as long as they are good.",
    source: "bft-smart/library #62: sloppy quorums in recovery code",
};

/// In `Votes::count`: votes of all views.
pub static MIXES_VIEWS: Bug = Bug {
    name: "mixes-views",
    what: "Votes of several views for one batch are counted together.",
    source: "PBFT, section 4.2: prepares match in view, sequence number and digest",
};

/// In `on_proposal`: the second proposal of a view replaces the first.
pub static VOTES_TWICE_IN_A_VIEW: Bug = Bug {
    name: "votes-twice-in-a-view",
    what: "A second proposal for a slot and view gets a vote too.",
    source: "PBFT, section 4.2: no other pre-prepare accepted for this view and sequence number",
};

/// In `Phase::deciding`: without the second round of votes.
pub static DECIDES_ON_PREPARES: Bug = Bug {
    name: "decides-on-prepares",
    what: "A batch is decided, executed and answered as soon as it is prepared.",
    source: "PBFT, section 4.2: why there is a commit phase",
};

/// In `progress`: votes of the view that was left.
pub static COMMITS_IN_A_VIEW_IT_LEFT: Bug = Bug {
    name: "commits-in-a-view-it-left",
    what: "A replica that has told what it knows for the next view goes on committing in the last one.",
    source: "hyperledger-labs/minbft PR 189: commitment after view termination",
};

/// In `Place::claim`: nothing is claimed.
pub static DROPS_WHAT_WAS_PREPARED: Bug = Bug {
    name: "drops-what-was-prepared",
    what: "A view change does not tell what was prepared.",
    source: "PBFT, section 4.4: the set P of a view change",
};

/// In `Beginning::of`: the highest prefix that anybody has.
pub static HIGHEST_PREFIX_BEGINS: Bug = Bug {
    name: "highest-prefix-begins",
    what: "A view begins above the highest decided prefix, though only one replica, and a faulty one, may know it.",
    source: "our own history",
};

/// In `may_stand`: any proposal.
pub static BEGINNING_BINDS_NOBODY: Bug = Bug {
    name: "beginning-binds-nobody",
    what: "Backups accept what they like where the view's beginning names a batch.",
    source: "PBFT, section 4.4: backups check a new view's set O",
};

/// In `on_fetch`: no answer.
pub static ANSWERS_NO_LAGGARD: Bug = Bug {
    name: "answers-no-laggard",
    what: "A replica that missed decisions is told nothing.",
    source: "EBAWA: a fallen-behind replica never catches up; bft-smart/library #27",
};

/// In `verify`: no look at the checkpoint.
pub static BELIEVES_ANY_PRUNED: Bug = Bug {
    name: "believes-any-pruned",
    what: "A liar's word that decisions are gone, without a checkpoint that holds, sends a replica after a state that does not exist; it serves no client.",
    source: "our own history",
};

/// In `vote_limit`: no high watermark.
pub static LOG_WITHOUT_END: Bug = Bug {
    name: "log-without-end",
    what: "Ordering does not wait for the checkpoint, so the log has no limit.",
    source: "PBFT, section 4.2: the high watermark",
};

/// In `advance`: no limit.
pub static BACKLOG_WITHOUT_END: Bug = Bug {
    name: "backlog-without-end",
    what: "The decided prefix runs ahead of a slow application without limit.",
    source: "bft-smart/library #27: queues overflow, memory runs out",
};

/// In `cut`: no exception for what is urgent.
pub static FILL_WAITS_FOR_SLOTS: Bug = Bug {
    name: "fill-waits-for-slots",
    what: "A fill marker waits for open slots, whose commands wait for it.",
    source: "our own history",
};

/// In `Pool::restart`: a new pool.
pub static FORGETS_WHAT_WAITS: Bug = Bug {
    name: "forgets-what-waits",
    what: "What waits to be ordered is forgotten at a change of view.",
    source: "Raft libraries drop proposals at a change of leader and leave it to callers to notice",
};

/// In `Suspicion::target`: one is enough.
pub static ONE_SUSPECT_IS_ENOUGH: Bug = Bug {
    name: "one-suspect-is-enough",
    what: "Replicas follow a single one that wants another primary.",
    source: "EBAWA: false blame, merge storms; SBFT, section on view change triggers",
};

/// In `repeat`: silence.
pub static REPEATS_NO_VOTES: Bug = Bug {
    name: "repeats-no-votes",
    what: "Votes and proposals are sent once, whatever the network does with them.",
    source: "Bessani et al., Vivisecting the Dissection: retransmission left out",
};

/// In `on_status`: silence.
pub static SHOWS_NO_NEW_VIEW: Bug = Bug {
    name: "shows-no-new-view",
    what: "A replica that missed the beginning of a view is never shown it.",
    source: "concord-bft PR 2863: a replica stays out for ever",
};

/// In `Group::checkpoint_votes`: one vote.
pub static ONE_VOTE_MAKES_A_CHECKPOINT: Bug = Bug {
    name: "one-vote-makes-a-checkpoint",
    what: "A checkpoint is stable with a single vote, which may be a liar's.",
    source: "PBFT, section 4.3: stable with 2f+1",
};

/// All that the hunt over seeds takes.
pub const ALL: &[&Bug] = &[
    &HALF_IS_A_QUORUM,
    &COUNTS_A_VOTE_AGAIN,
    &ACCEPTS_SHORT_CERTIFICATES,
    &MIXES_VIEWS,
    &VOTES_TWICE_IN_A_VIEW,
    &DECIDES_ON_PREPARES,
    &COMMITS_IN_A_VIEW_IT_LEFT,
    &DROPS_WHAT_WAS_PREPARED,
    &HIGHEST_PREFIX_BEGINS,
    &BEGINNING_BINDS_NOBODY,
    &ANSWERS_NO_LAGGARD,
    &BELIEVES_ANY_PRUNED,
    &LOG_WITHOUT_END,
    &BACKLOG_WITHOUT_END,
    &FILL_WAITS_FOR_SLOTS,
    &FORGETS_WHAT_WAITS,
    &ONE_SUSPECT_IS_ENOUGH,
    &REPEATS_NO_VOTES,
    &SHOWS_NO_NEW_VIEW,
    &ONE_VOTE_MAKES_A_CHECKPOINT,
    &RETURNS_WITHOUT_ITS_VOTES,
];

/// In `ViewChange::check`: neither the proof of its prefix nor that its votes lie within a window above it.
pub static PREFIX_NEEDS_NO_PROOF: Bug = Bug {
    name: "prefix-needs-no-proof",
    what: "A view change convinces without proof that everything a window below its votes is decided.",
    source: "our own notes on lanes: what a lane says of a slot is lost when it moves on",
};

/// In `ViewChange::is_right`: always.
pub static VOTES_NEED_NO_GROUND: Bug = Bug {
    name: "votes-need-no-ground",
    what: "A view change may report votes for what nobody proposed who had the right to.",
    source: "our own notes on lanes: a core signs what its host likes",
};

/// In `ViewCertificate::votes_needed`: one.
pub static ONE_WORD_BEGINS_A_VIEW: Bug = Bug {
    name: "one-word-begins-a-view",
    what: "A view begins with one acknowledgement, its coordinator's will do, though no quorum saw that it follows.",
    source: "our own notes on lanes; hybrid protocols that trust an attested new view",
};

/// In `due`: as far as there is memory.
pub static VOTES_BEYOND_THE_WINDOW: Bug = Bug {
    name: "votes-beyond-the-window",
    what: "A replica votes in a slot although the one a window below is open, so its lane forgets that one.",
    source: "Paxos Made Simple (Lamport 2001), section 3: at most alpha slots above the decided prefix",
};

/// In `NewView::beginning`: the vote of the lowest view.
pub static LOWER_VIEW_WINS: Bug = Bug {
    name: "lower-view-wins",
    what: "Of several votes reported for a slot the one of the lowest view binds the next.",
    source: "Paxos Made Simple (Lamport 2001), section 2.2: the value of the highest-numbered proposal",
};

/// In `install`: who held up the slot that this replica waits for.
pub static EXCLUDES_BY_OPINION: Bug = Bug {
    name: "excludes-by-opinion",
    what: "Each replica takes the turns from whom it blames itself.",
    source: "EBAWA (Veronese et al., HASE 2010): the blacklist",
};

/// In `Registers::apply`: all lanes are empty once a view was left.
pub static CORE_FORGETS_ITS_VOTES: Bug = Bug {
    name: "core-forgets-its-votes",
    what: "What leaves a view no longer knows what it voted for, so the next view is free to decide something else.",
    source: "Paxos Made Simple (Lamport 2001), section 2.2: an acceptor remembers; trusted counters that are rolled back",
};

/// In `Registers::may_endorse`: always.
pub static CORE_VOTES_TWICE: Bug = Bug {
    name: "core-votes-twice",
    what: "A trusted core votes again in a slot and view.",
    source: "MinBFT (Veronese et al., IEEE ToC 2013): one identifier is never given to two messages",
};

/// In `on_proposal`: whoever comes.
pub static TAKES_ANY_TURN: Bug = Bug {
    name: "takes-any-turn",
    what: "A proposal counts whoever makes it, so two may stand in one slot of a view.",
    source: "Mencius (Mao et al., OSDI 2008): only the owner of an instance proposes a value",
};

/// In `recover`: nothing.
pub static RECOVERS_ANOTHER_BATCH: Bug = Bug {
    name: "recovers-another-batch",
    what: "Where the view's beginning names a batch, an empty one is put in its place.",
    source: "PBFT, section 4.4: a new primary proposes what was prepared, under its digest",
};

/// In `exclude`: all whom somebody blamed.
pub static EXCLUDES_MORE_THAN_F: Bug = Bug {
    name: "excludes-more-than-f",
    what: "Whoever was blamed gets no turns, however many are out already.",
    source: "Spinning (Veronese et al., SRDS 2009): at most f in the blacklist, the oldest leaves it",
};

/// In `forget_views`: the last one stays, and no other.
pub static FORGETS_HOW_VIEWS_BEGAN: Bug = Bug {
    name: "forgets-how-views-began",
    what: "A replica cannot show that a vote of an earlier view was right, so nobody takes its view change.",
    source: "our own notes on lanes: view certificates are kept as long as a register names their view",
};

/// In `value`: no empty batches.
pub static NEVER_PASSES_ITS_TURN: Bug = Bug {
    name: "never-passes-its-turn",
    what: "Who has nothing to propose lets all others wait until they lose their patience.",
    source: "Mencius (Mao et al., OSDI 2008): who has nothing to propose says so",
};

/// In `fetch_bodies`: no question.
pub static ASKS_FOR_NO_BATCHES: Bug = Bug {
    name: "asks-for-no-batches",
    what: "A replica that lacks a batch which the next view is bound to waits for it in silence.",
    source: "our own notes on lanes: a coordinator begins a view once the bodies are here",
};

/// In `on_status_timer` of the basis: no question.
pub static ASKS_FOR_NO_DECISIONS: Bug = Bug {
    name: "asks-for-no-decisions",
    what: "A replica that has fallen behind asks nobody for what it missed.",
    source: "EBAWA (Veronese et al., HASE 2010): who misses a message waits for it for ever",
};

/// In `resume_on_the_way`: nothing happens.
pub static RETURNS_TO_THE_FIRST_VIEW: Bug = Bug {
    name: "returns-to-the-first-view",
    what: "A replica that comes back after a crash has forgotten which views it left, and votes in them again.",
    source: "Viewstamped Replication Revisited (Liskov and Cowling, 2012), section 4.3: recovery must not go back in views",
};

/// In `resume_voted`: nothing happens.
pub static RETURNS_WITHOUT_ITS_VOTES: Bug = Bug {
    name: "returns-without-its-votes",
    what: "A replica that comes back after a crash has forgotten what it voted for.",
    source: "Chandra et al., Paxos Made Live, PODC 2007, section 5.1: a replica that lost its disk must not vote as before",
};

/// In `has_room`: no end.
pub static GOES_ON_AFTER_IT_CEASED: Bug = Bug {
    name: "goes-on-after-it-ceased",
    what: "A replica that told the administrator how far it is decides more before the generation is ended there.",
    source: "Lamport, Paxos Made Simple, 2001: whoever answers a prepare promises to accept nothing older",
};

/// Those of `lanes`.
pub const LANES: &[&Bug] = &[
    &PREFIX_NEEDS_NO_PROOF,
    &VOTES_NEED_NO_GROUND,
    &ONE_WORD_BEGINS_A_VIEW,
    &VOTES_BEYOND_THE_WINDOW,
    &LOWER_VIEW_WINS,
    &EXCLUDES_BY_OPINION,
    &CORE_FORGETS_ITS_VOTES,
    &CORE_VOTES_TWICE,
    &TAKES_ANY_TURN,
    &RECOVERS_ANOTHER_BATCH,
    &EXCLUDES_MORE_THAN_F,
    &FORGETS_HOW_VIEWS_BEGAN,
    &NEVER_PASSES_ITS_TURN,
    &ASKS_FOR_NO_BATCHES,
    &ASKS_FOR_NO_DECISIONS,
    &HALF_IS_A_QUORUM,
    &MIXES_VIEWS,
    &ANSWERS_NO_LAGGARD,
    &ONE_SUSPECT_IS_ENOUGH,
    &SHOWS_NO_NEW_VIEW,
    &RETURNS_TO_THE_FIRST_VIEW,
    &RETURNS_WITHOUT_ITS_VOTES,
    &GOES_ON_AFTER_IT_CEASED,
];

/// Those among them that only the model finds: no seed within bounds brings about what it takes.
pub const MODEL_ONLY: &[&Bug] = &[&LOWER_VIEW_WINS, &PREFIX_NEEDS_NO_PROOF];
