//! Whom to ask for decisions that were missed. One peer is asked at a time and another one when it does not help,
//! so a lying or slow peer costs a period, not the catching up.

use std::collections::{BTreeMap, BTreeSet};

use smr_wire::{ReplicaId, Slot};

/// What peers say they have decided, and whom we asked.
#[derive(Clone, Debug, Default)]
pub struct CatchUp {
    heard: BTreeMap<ReplicaId, Slot>,
    asked: Option<ReplicaId>,
    last_asked: Option<ReplicaId>,
    asked_since: BTreeSet<ReplicaId>,
    /// The last slot that whoever was asked helped with. Until it is executed there is no room for more.
    learned: Option<Slot>,
    decided_at_tick: Slot,
    /// Where so many peers were at the last tick that one of them is correct.
    target: Slot,
}

impl CatchUp {
    /// Notes how far `peer` says it is.
    pub fn heard(&mut self, peer: ReplicaId, decided: Slot) {
        self.heard.insert(peer, decided);
    }

    /// Called once a period: whom to ask for decisions after `decided`, if another is ahead and this replica made no
    /// progress since the last call, or is a period behind `needed` others, whatever progress somebody lets it make. Nobody
    /// is asked while it `is_busy`: it knows the next decision and has no room for it yet.
    pub fn tick(&mut self, decided: Slot, needed: usize, is_busy: bool) -> Option<ReplicaId> {
        let lags = decided == self.decided_at_tick || decided < self.target;
        self.decided_at_tick = decided;
        self.target = self.highest(needed);
        if is_busy {
            return None;
        }
        (self.asked, self.learned) = (None, None);
        if !lags {
            self.asked_since.clear();
        }
        if lags { self.next(decided) } else { None }
    }

    /// Notes that `peer` sent a decision of `slot` that was not known.
    pub fn learned(&mut self, peer: ReplicaId, slot: Slot) {
        if self.asked == Some(peer) {
            self.learned = self.learned.max(Some(slot));
        }
    }

    /// Called when the prefix may have moved: whom to ask for more, once all that the last answer helped with is in it. The
    /// same peer again, as it just proved helpful; an answer that did not help is none, and the next period brings
    /// another peer.
    pub fn go_on(&mut self, decided: Slot) -> Option<ReplicaId> {
        let peer = self.asked.filter(|_| self.learned.is_some_and(|learned| learned <= decided))?;
        self.learned = None;
        self.asked = self.heard.get(&peer).filter(|theirs| **theirs > decided).map(|_| peer);
        self.asked
    }

    /// Whether `peer` was asked since this replica began to lag.
    #[must_use]
    pub fn asked(&self, peer: ReplicaId) -> bool {
        self.asked_since.contains(&peer)
    }

    /// The highest slot that `needed` peers say they have decided: with f+1 of them at least one is correct.
    #[must_use]
    pub fn highest(&self, needed: usize) -> Slot {
        let mut slots: Vec<Slot> = self.heard.values().copied().collect();
        slots.sort_unstable_by_key(|slot| std::cmp::Reverse(*slot));
        needed.checked_sub(1).and_then(|place| slots.get(place)).copied().unwrap_or_default()
    }

    fn next(&mut self, decided: Slot) -> Option<ReplicaId> {
        let ahead: Vec<ReplicaId> =
            self.heard.iter().filter(|(_, theirs)| **theirs > decided).map(|(peer, _)| *peer).collect();
        let after_last = ahead.iter().find(|peer| self.last_asked.is_none_or(|last| **peer > last));
        let chosen = after_last.or(ahead.first()).copied();
        self.asked = chosen;
        self.asked_since.extend(chosen);
        self.last_asked = chosen.or(self.last_asked);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_not_help_is_followed_by_another() {
        let mut catch_up = CatchUp::default();
        for peer in 1..=3 {
            catch_up.heard(ReplicaId(peer), Slot(10));
        }
        let asked: Vec<_> = (0..4).map(|_| catch_up.tick(Slot(0), 2, false).expect("behind").0).collect();
        assert_eq!(asked, [1, 2, 3, 1]);
    }

    #[test]
    fn nobody_is_asked_while_progress_comes_by_itself() {
        let mut catch_up = CatchUp::default();
        catch_up.heard(ReplicaId(1), Slot(10));
        assert_eq!(catch_up.tick(Slot(3), 2, false), None);
        assert_eq!(catch_up.tick(Slot(5), 2, false), None);
        assert_eq!(catch_up.tick(Slot(5), 2, false), Some(ReplicaId(1)));
    }

    #[test]
    fn a_helpful_peer_is_asked_until_there_is_no_more() {
        let mut catch_up = CatchUp::default();
        catch_up.heard(ReplicaId(1), Slot(10));
        assert_eq!(catch_up.tick(Slot(0), 2, false), Some(ReplicaId(1)));
        catch_up.learned(ReplicaId(2), Slot(1));
        assert_eq!(catch_up.go_on(Slot(1)), None, "nobody asked it");
        catch_up.learned(ReplicaId(1), Slot(4));
        assert_eq!(catch_up.go_on(Slot(3)), None, "there is no room yet");
        assert_eq!(catch_up.go_on(Slot(4)), Some(ReplicaId(1)));
        assert_eq!(catch_up.go_on(Slot(4)), None, "it has sent nothing since");
        catch_up.learned(ReplicaId(1), Slot(10));
        assert_eq!(catch_up.go_on(Slot(10)), None, "there is no more");
    }

    #[test]
    fn who_executes_what_it_was_sent_asks_nobody_else_for_it() {
        let mut catch_up = CatchUp::default();
        (1..=3).for_each(|peer| catch_up.heard(ReplicaId(peer), Slot(100)));
        assert_eq!(catch_up.tick(Slot(0), 2, false), Some(ReplicaId(1)));
        catch_up.learned(ReplicaId(1), Slot(64));
        assert_eq!((catch_up.tick(Slot(20), 2, true), catch_up.go_on(Slot(20))), (None, None));
        assert_eq!((catch_up.tick(Slot(64), 2, true), catch_up.go_on(Slot(64))), (None, Some(ReplicaId(1))));
        assert_eq!(catch_up.tick(Slot(64), 2, false), Some(ReplicaId(2)), "it sends no more");
    }

    #[test]
    fn who_was_asked_is_known_until_nothing_lacks() {
        let mut catch_up = CatchUp::default();
        (1..=3).for_each(|peer| catch_up.heard(ReplicaId(peer), Slot(10)));
        assert!(!catch_up.asked(ReplicaId(1)));
        assert_eq!(catch_up.tick(Slot(0), 2, false), Some(ReplicaId(1)));
        assert_eq!(catch_up.tick(Slot(0), 2, false), Some(ReplicaId(2)));
        assert!(
            catch_up.asked(ReplicaId(1)) && catch_up.asked(ReplicaId(2)) && !catch_up.asked(ReplicaId(3))
        );
        catch_up.tick(Slot(10), 2, false);
        assert!(!catch_up.asked(ReplicaId(1)), "it has caught up");
    }

    #[test]
    fn who_gives_a_little_in_each_period_does_not_keep_others_from_being_asked() {
        let mut catch_up = CatchUp::default();
        (1..=3).for_each(|peer| catch_up.heard(ReplicaId(peer), Slot(10)));
        // What it gives leaves a hole, above which there is more.
        let mut asked = Vec::new();
        for decided in 0..4 {
            let peer = catch_up.tick(Slot(decided), 2, false).expect("behind");
            catch_up.learned(peer, Slot(decided + 1));
            catch_up.learned(peer, Slot(decided + 3));
            asked.push(peer.0);
        }
        assert_eq!(asked, [1, 2, 3, 1]);
    }

    #[test]
    fn one_liar_does_not_say_how_far_the_others_are() {
        let mut catch_up = CatchUp::default();
        catch_up.heard(ReplicaId(1), Slot(10));
        assert_eq!(catch_up.highest(2), Slot(0));
        catch_up.heard(ReplicaId(2), Slot(9));
        catch_up.heard(ReplicaId(3), Slot(1 << 40));
        assert_eq!(catch_up.highest(2), Slot(10));
    }
}
