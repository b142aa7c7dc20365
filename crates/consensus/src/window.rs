//! The slots above the decided prefix that may be open, bounded by construction.
//! Source: Paxos Made Simple (Lamport 2001), section 3: at most alpha slots above the decided prefix.

use std::collections::VecDeque;

use smr_wire::Slot;

/// State of type `T` for the slots `decided+1 ..= decided+capacity`.
#[derive(Clone, Debug)]
pub struct Window<T> {
    decided: Slot,
    capacity: u64,
    slots: VecDeque<T>,
}

impl<T: Default> Window<T> {
    /// An empty window above slot 0 that holds `capacity` slots.
    #[must_use]
    pub fn new(capacity: u64) -> Window<T> {
        Window { decided: Slot(0), capacity, slots: VecDeque::new() }
    }

    /// The last slot of the decided prefix.
    #[must_use]
    pub fn decided(&self) -> Slot {
        self.decided
    }

    /// How many slots it holds.
    #[must_use]
    pub fn places(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX)
    }

    /// Whether `slot` lies in the window.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        slot > self.decided && slot <= self.decided.plus(self.capacity)
    }

    /// The state of `slot`, made if it is the first time; none outside the window.
    pub fn entry(&mut self, slot: Slot) -> Option<&mut T> {
        if !self.contains(slot) {
            return None;
        }
        let place = self.place(slot);
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, T::default);
        }
        self.slots.get_mut(place)
    }

    /// The state of `slot`, if there is any yet.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        if !self.contains(slot) {
            return None;
        }
        self.slots.get(self.place(slot))
    }

    /// Slots with state, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.slots.iter().zip(1u64..).map(|(state, after)| (self.decided.plus(after), state))
    }

    /// Slots with state, in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        let decided = self.decided;
        self.slots.iter_mut().zip(1u64..).map(move |(state, after)| (decided.plus(after), state))
    }

    /// Moves the decided prefix by one slot and gives up that slot's state.
    pub fn advance(&mut self) -> T {
        self.decided = self.decided.next();
        self.slots.pop_front().unwrap_or_default()
    }

    /// Moves the decided prefix to `slot`, giving up what is passed; does nothing if it is already there.
    pub fn skip_to(&mut self, slot: Slot) {
        while self.decided < slot && !self.slots.is_empty() {
            self.advance();
        }
        self.decided = self.decided.max(slot);
    }

    fn place(&self, slot: Slot) -> usize {
        usize::try_from(slot.since(self.decided) - 1).expect("inside the window, which fits in memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slots_of_the_window_have_state_and_it_moves_with_the_prefix() {
        let mut window = Window::<u32>::new(3);
        assert!(window.entry(Slot(0)).is_none() && window.entry(Slot(4)).is_none());
        *window.entry(Slot(3)).expect("inside") = 7;
        assert_eq!(window.advance(), 0);
        assert_eq!(window.get(Slot(3)), Some(&7));
        assert!(window.entry(Slot(4)).is_some());
        window.skip_to(Slot(3));
        assert_eq!((window.decided(), window.iter().count()), (Slot(3), 1));
        window.skip_to(Slot(100));
        assert_eq!((window.decided(), window.iter().count()), (Slot(100), 0));
        window.skip_to(Slot(5));
        assert_eq!(window.decided(), Slot(100));
    }
}
