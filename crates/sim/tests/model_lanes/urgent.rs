//! Steps that a correct replica takes before anything else happens, where they are open: whoever took one can do all that
//! it could have done without, and has said no less, so nothing that can come true is lost if it comes first. Why each
//! is of this kind stands in `docs/model.md`.

use std::collections::BTreeSet;

use smr_consensus::lanes::beginning::Beginning;
use smr_consensus::lanes::core::Item;
use smr_wire::View;

use crate::kit::{Kit, Opening, Steps, Vote};
use crate::replica::{Heard, Key, Move, Said};

/// Whether this step, open to the replica that `key` stands for, is one of those, given what the others said.
pub(crate) fn is_urgent(key: &Key, step: &Move, others: &[&Said], kit: &Kit) -> bool {
    let (Some(outline), Move::Hear(heard)) = (&key.outline, step) else { return false };
    let [heard] = heard.as_slice() else { return false };
    let (view, installed) = (outline.basis.view, outline.basis.installed);
    if key.waits_for_core() || kit.case.steps == Steps::All {
        return false;
    }
    let is_last = kit.case.window == 1 && view.next().0 == kit.case.views;
    match heard {
        Heard::NewView(opening) => !installed && opening.beginning.view == view && is_only(opening, others),
        Heard::Acknowledge(_, begun) | Heard::Begun(_, begun) => is_last && !installed && begun.view == view,
        Heard::Vote(_, vote) => is_last && installed && proposes_next(key, &outline.beginning, vote, others),
        Heard::Wish(..) | Heard::Change(_) | Heard::Decision(..) => false,
    }
}

/// Whether its view begins in no other way.
fn is_only(opening: &Opening, others: &[&Said]) -> bool {
    let openings = others.iter().flat_map(|said| &said.openings);
    openings.filter(|other| other.beginning.view == opening.beginning.view).all(|other| other == opening)
}

/// Whether the vote is the only proposal for the first open slot, above what the view's beginning names.
fn proposes_next(key: &Key, begun: &Beginning, vote: &Vote, others: &[&Said]) -> bool {
    let next = key.decided().next();
    let proposed = |view: View| -> BTreeSet<&Item> {
        let votes = others.iter().flat_map(|said| &said.votes).filter(|other| other.view == view);
        votes.flat_map(|vote| &vote.items).filter(|item| item.slot == next).collect()
    };
    vote.view == begun.view
        && vote.proposes.contains(&next)
        && next > begun.bound()
        && proposed(vote.view).len() == 1
}
