//! The records of locks, conditions and barriers: a table whose places are used again once nobody needs them.

/// Records of one kind. Ids are places in the table and have no influence on any order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Objects<T> {
    all: Vec<Object<T>>,
    free: Vec<usize>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Object<T> {
    record: T,
    /// Tasks that hold it, ask for it or wait at it, each as often as it does.
    uses: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stage {
    Used,
    /// Its owner outside is gone; the record goes with its last use.
    Retired,
    Free,
}

impl<T> Objects<T> {
    pub(super) const fn new() -> Objects<T> {
        Objects { all: Vec::new(), free: Vec::new() }
    }

    pub(super) fn create(&mut self, record: T) -> usize {
        let object = Object { record, uses: 0, stage: Stage::Used };
        match self.free.pop() {
            Some(place) => {
                self.all[place] = object;
                place
            }
            None => {
                self.all.push(object);
                self.all.len() - 1
            }
        }
    }

    /// The record, if there is one.
    pub(super) fn find(&self, place: usize) -> Option<&T> {
        self.all.get(place).filter(|object| object.stage != Stage::Free).map(|object| &object.record)
    }

    /// The record, if there is one.
    pub(super) fn find_mut(&mut self, place: usize) -> Option<&mut T> {
        self.all.get_mut(place).filter(|object| object.stage != Stage::Free).map(|object| &mut object.record)
    }

    pub(super) fn retire(&mut self, place: usize) {
        if let Some(object) = self.all.get_mut(place).filter(|object| object.stage == Stage::Used) {
            object.stage = Stage::Retired;
            self.free_if_unused(place);
        }
    }

    pub(super) fn begin_use(&mut self, place: usize) {
        self.all[place].uses += 1;
    }

    pub(super) fn end_use(&mut self, place: usize) {
        self.all[place].uses -= 1;
        self.free_if_unused(place);
    }

    /// All records that are in use, in no order that means anything.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.all.iter_mut().filter(|object| object.stage != Stage::Free).map(|object| &mut object.record)
    }

    fn free_if_unused(&mut self, place: usize) {
        let object = &mut self.all[place];
        if object.stage == Stage::Retired && object.uses == 0 {
            object.stage = Stage::Free;
            self.free.push(place);
        }
    }
}

impl<T> std::ops::Index<usize> for Objects<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.all[place].record
    }
}

impl<T> std::ops::IndexMut<usize> for Objects<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.all[place].record
    }
}
