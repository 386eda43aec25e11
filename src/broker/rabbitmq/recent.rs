//! Ids seen lately, to drop the second copy that a repeated publish may bring.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Ids remembered: more than any publisher has unconfirmed.
const CAPACITY: usize = 1 << 15;

#[derive(Debug, Default)]
pub(super) struct Recent {
    ids: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Recent {
    /// Remembers an id; whether it is new.
    pub(super) fn insert(&mut self, id: &Arc<str>) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id.clone());
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_copy_is_known_and_memory_is_bounded() {
        let mut recent = Recent::default();
        let id = |n: usize| -> Arc<str> { n.to_string().into() };
        assert!(recent.insert(&id(0)));
        assert!(!recent.insert(&id(0)));
        for n in 1..2 * CAPACITY {
            assert!(recent.insert(&id(n)));
        }
        assert_eq!((recent.ids.len(), recent.order.len()), (CAPACITY, CAPACITY));
        assert!(recent.insert(&id(0)));
    }
}
