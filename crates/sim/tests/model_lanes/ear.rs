//! What a replica can still hear of what others said. Nothing else opens a step to it, so states that differ in the rest
//! need to be looked at but once.

use smr_wire::{Slot, View};

use crate::kit::Kit;
use crate::replica::{Key, Said};

/// What a replica can hear.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Ear {
    pub(crate) votes: Votes,
    /// Views of which it matters how they begin: these and, for a correct replica, all later ones.
    pub(crate) views: (View, View),
    /// Above this it listens to wishes, if it does.
    pub(crate) wishes: Option<View>,
    /// Views that it coordinates and that have not begun, to which it wants to hear view changes.
    pub(crate) coordinates: Vec<View>,
    /// Whether reports of the faulty replica's core reach it, of which view changes can be made. What those can say
    /// depends on every vote and on how every view began.
    pub(crate) wide: bool,
}

/// Which votes can do something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Votes {
    /// Those for a slot above this one.
    Above(Slot),
    /// Those of a view.
    In(View),
}

impl Ear {
    /// The ear of a correct replica.
    pub(crate) fn of_correct(key: &Key, kit: &Kit) -> Ear {
        let outline = key.outline.as_ref().expect("a correct replica has one");
        let view = outline.basis.view;
        let is_open = !outline.basis.installed && outline.registers.begun() < view;
        let first = if outline.basis.installed { view.next() } else { view };
        let coordinates = (view.0..kit.case.views).map(View).filter(|to| *to > view || is_open);
        Ear {
            votes: Votes::Above(key.decided()),
            views: (first, View(kit.case.views)),
            wishes: Some(view),
            coordinates: coordinates.filter(|to| kit.group.primary_of(*to) == key.id).collect(),
            wide: false,
        }
    }

    /// What reaches it of what was said.
    pub(crate) fn hears(&self, said: &Said) -> Said {
        let Ear { votes, views: (first, last), wishes, coordinates, wide } = self;
        let is_open = |view: View| *wide || (*first <= view && view <= *last);
        let mut heard = said.clone();
        heard.votes.retain(|vote| {
            *wide
                || match votes {
                    Votes::Above(slot) => vote.items.iter().any(|item| item.slot > *slot),
                    Votes::In(view) => vote.view == *view,
                }
        });
        heard.wishes.retain(|wants| wishes.is_some_and(|above| *wants > above));
        heard.reports.retain(|(to, _)| coordinates.contains(to));
        heard.changes.retain(|change| coordinates.contains(&change.to));
        heard.openings.retain(|opening| is_open(opening.beginning.view));
        heard.acknowledged.retain(|(view, _)| is_open(*view));
        heard
    }
}
