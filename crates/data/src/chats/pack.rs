//! Whole conversations into windows: best fit, the longest first. No conversation is parted, so none needs another's context.

use std::collections::BTreeSet;

/// The items of each window; `rows(item)` is at most `room`. The longest items go first, each into the fullest window that
/// still has room for it (within 22 % of the fewest possible windows: Johnson 1973).
pub(super) fn best_fit(items: &[usize], rows: impl Fn(usize) -> usize, room: usize) -> Vec<Vec<usize>> {
    let mut order = items.to_vec();
    order.sort_by_key(|item| std::cmp::Reverse(rows(*item)));
    let mut windows: Vec<Vec<usize>> = Vec::new();
    // (rows left, window)
    let mut open: BTreeSet<(usize, usize)> = BTreeSet::new();
    for item in order {
        let needed = rows(item);
        let fits = open.range((needed, 0)..).next().copied();
        let (left, window) = match fits {
            Some(found) => {
                open.remove(&found);
                found
            }
            None => {
                windows.push(Vec::new());
                (room, windows.len() - 1)
            }
        };
        windows[window].push(item);
        open.insert((left - needed, window));
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_item_is_in_one_window_and_none_is_too_full(lengths in prop::collection::vec(1usize..=50, 0..200)) {
            let items: Vec<usize> = (0..lengths.len()).collect();
            let windows = best_fit(&items, |item| lengths[item], 50);
            let mut all: Vec<usize> = windows.concat();
            all.sort_unstable();
            prop_assert_eq!(all, items);
            let sums: Vec<usize> = windows.iter().map(|window| window.iter().map(|item| lengths[*item]).sum()).collect();
            prop_assert!(sums.iter().all(|sum| (1..=50).contains(sum)));
            prop_assert!(sums.iter().filter(|sum| **sum <= 25).count() <= 1, "two of {:?} could be one", sums);
        }
    }

    #[test]
    fn the_fullest_window_with_room_is_taken() {
        let lengths = [6, 7, 3, 4];
        assert_eq!(best_fit(&[0, 1, 2, 3], |item| lengths[item], 10), [vec![1, 2], vec![0, 3]]);
    }
}
