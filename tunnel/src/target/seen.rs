//! Which grants of this session came before: bounded, and safe when full.

use std::collections::BTreeSet;

use klnet_wire::id::GrantId;

use crate::grant::Grant;

/// The grants taken in this session. When it is full it forgets the oldest by mint and from then on takes none
/// minted at that second or before: no clock is asked, only signed numbers are compared.
#[derive(Debug, Default)]
pub(super) struct Seen {
    grants: BTreeSet<(u64, GrantId)>,
    floor: Option<u64>,
}

impl Seen {
    pub(super) fn contains(&self, grant: &Grant) -> bool {
        self.floor.is_some_and(|floor| grant.issued <= floor)
            || self.grants.contains(&(grant.issued, grant.id))
    }

    pub(super) fn insert(&mut self, grant: &Grant, limit: usize) {
        self.grants.insert((grant.issued, grant.id));
        while self.grants.len() > limit {
            self.floor = self.grants.pop_first().map(|(issued, _)| issued).max(self.floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests::sample;

    #[test]
    fn a_forgotten_grant_is_still_not_taken_twice() {
        let grant = |n: u8| Grant { id: GrantId::new([n; 16]), issued: n.into(), ..sample() };
        let mut seen = Seen::default();
        for n in 1..=10 {
            assert!(!seen.contains(&grant(n)), "{n}");
            seen.insert(&grant(n), 3);
        }
        assert!((1..=10).all(|n| seen.contains(&grant(n))));
        assert_eq!(seen.grants.len(), 3);
        assert!(!seen.contains(&grant(11)));
    }
}
