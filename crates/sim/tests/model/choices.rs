//! What can be chosen from lists.

/// Every way to take at most one of each list, and something at all.
pub(crate) fn selections<T: Clone>(lists: &[Vec<T>]) -> Vec<Vec<T>> {
    let mut all = vec![Vec::new()];
    for list in lists {
        for at in 0..all.len() {
            let with = |item: &T| all[at].iter().chain([item]).cloned().collect::<Vec<T>>();
            let more: Vec<Vec<T>> = list.iter().map(with).collect();
            all.extend(more);
        }
    }
    all.retain(|set| !set.is_empty());
    all
}

/// Every way to take one of each list.
pub(crate) fn complete<T: Clone>(lists: &[Vec<T>]) -> Vec<Vec<T>> {
    let mut all = vec![Vec::new()];
    for list in lists {
        let with = |set: &Vec<T>| {
            list.iter().map(|item| set.iter().chain([item]).cloned().collect()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}
