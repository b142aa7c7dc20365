//! One on whose word the group does not count, as its trusted core was begun anew or its generation is about to end: it learns what is decided, shows the
//! others what it wants ordered, and says nothing else. It goes through no views, so decisions come to it as to a laggard.

use super::{Lanes, Message};
use crate::pool::parcels;
use crate::protocol::{Effects, Event, Timer};
use crate::upkeep::{FORWARD_ENTRIES_MAX, Upkeep};

impl Lanes {
    pub(super) fn follow(&mut self, event: Event<Message>, effects: &mut Effects<Message>) {
        match event {
            Event::Start => effects.arm(Timer::Status, self.basis.config.status_ms),
            Event::Offer(entry) => {
                if self.basis.offer(entry.clone(), effects) {
                    effects.broadcast(Upkeep::Forward(vec![entry]).into());
                }
            }
            Event::Message(message) => {
                let (from, message) = message.into_parts();
                match message {
                    Message::Upkeep(Upkeep::Status { decided, .. }) => {
                        self.basis.catch_up.heard(from, decided);
                    }
                    Message::Upkeep(Upkeep::Fetch { after }) => self.basis.on_fetch(from, after, effects),
                    Message::Upkeep(Upkeep::Decided(decisions)) => {
                        for decision in decisions {
                            self.basis.learn(from, decision);
                            self.advance(effects);
                        }
                    }
                    Message::Upkeep(Upkeep::Pruned(certificate)) => {
                        self.basis.on_pruned(from, &certificate, effects);
                    }
                    _ => {}
                }
            }
            Event::Timer(Timer::Status) => {
                self.basis.on_status_timer(effects);
                for entries in parcels(self.basis.pool.all(), FORWARD_ENTRIES_MAX) {
                    effects.broadcast(Upkeep::Forward(entries).into());
                }
            }
            Event::Executed(slot) => self.basis.ledger.note_executed(slot),
            Event::Settled(slot) => self.basis.ledger.note_settled(slot),
            Event::Stable(certificate) => {
                self.basis.ledger.stabilise(certificate);
            }
            Event::Installed(certificate) => self.on_installed(certificate),
            Event::Cease(cease) => self.basis.cease(cease, effects),
            Event::Attested(_) | Event::Timer(Timer::Patience | Timer::NewView) | Event::Barrier(_) => {}
        }
        self.advance(effects);
        self.basis.fetch_on(effects);
    }
}
