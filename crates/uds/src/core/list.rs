//! The agreed order as a linked list: tasks keep their node until they leave, and others can enter behind them.

use crate::config::Config;

/// A place in the list. The head is a place before all entries.
pub(super) type Node = usize;

/// The place before all entries.
pub(super) const HEAD: Node = 0;

/// What stands at a place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Entry {
    /// Before the first and behind the last.
    Head,
    Task(usize),
    Marker(Marker),
    Config(Config),
    /// The end of the followers of a task: where its next child or the next task that it wakes goes.
    Followers,
}

/// An entry that waits until all tasks before it have left or wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Marker {
    Fill,
    Recall,
    Suspend,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Link {
    entry: Entry,
    before: Node,
    after: Node,
    /// The end of this task's followers, if it has any.
    followers: Option<Node>,
}

/// All steps are O(1); nodes are used again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct List {
    links: Vec<Link>,
    free: Vec<Node>,
}

impl List {
    pub(super) fn new() -> List {
        let head = Link { entry: Entry::Head, before: HEAD, after: HEAD, followers: None };
        List { links: vec![head], free: Vec::new() }
    }

    /// Entries, with the ends of followers.
    pub(super) fn len(&self) -> usize {
        self.links.len() - 1 - self.free.len()
    }

    pub(super) fn entry(&self, node: Node) -> Entry {
        self.links[node].entry
    }

    pub(super) fn after(&self, node: Node) -> Node {
        self.links[node].after
    }

    pub(super) fn last(&mut self) -> &mut Entry {
        let last = self.links[HEAD].before;
        &mut self.links[last].entry
    }

    pub(super) fn push_back(&mut self, entry: Entry) -> Node {
        self.insert_before(HEAD, entry)
    }

    pub(super) fn insert_before(&mut self, after: Node, entry: Entry) -> Node {
        let before = self.links[after].before;
        let link = Link { entry, before, after, followers: None };
        let node = match self.free.pop() {
            Some(node) => {
                self.links[node] = link;
                node
            }
            None => {
                self.links.push(link);
                self.links.len() - 1
            }
        };
        self.links[before].after = node;
        self.links[after].before = node;
        node
    }

    /// Puts `entry` behind the task at `leader` and the followers that it already has.
    pub(super) fn follow(&mut self, leader: Node, entry: Entry) -> Node {
        let end = match self.links[leader].followers {
            Some(end) => end,
            None => {
                let end = self.insert_before(self.links[leader].after, Entry::Followers);
                self.links[leader].followers = Some(end);
                end
            }
        };
        self.insert_before(end, entry)
    }

    /// Takes an entry out; its followers stay where they are.
    pub(super) fn remove(&mut self, node: Node) {
        if let Some(end) = self.links[node].followers.take() {
            self.remove(end);
        }
        let Link { before, after, .. } = self.links[node];
        self.links[before].after = after;
        self.links[after].before = before;
        self.free.push(node);
    }
}
