//! Which of a holder's certificates is good: the newest that was used, or a newer one at its first use.
//!
//! ```text
//! enrolment ─▶ pending ──first session──▶ used ──renewal──▶ used, and pending ──first session──▶ used
//!                 ▲  └─ asked again: the same certificate ─┘        ▲   └── asked again: the same ──┘
//! ```
//! A reply that is lost is no second identity: until the new certificate is used the old one is good, and whoever asks
//! with it again is given the same. Once it is used the old one belongs to a copy of the disk, or to a disk set back.

use std::time::Duration;

use klnet_wire::identity::authority::{AGENT_LIFE, Authority, Leaf};
use klnet_wire::identity::enroll::unix;
use klnet_wire::signed::PublicKey;
use rustls::pki_types::CertificateDer;

use super::record::Pending;

/// What the store says of a certificate that its holder shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is the newest, and was used before.
    Known,
    /// It is newer than any that was used: the pending one, or one whose record a restored store has lost.
    First,
    /// A newer one was used.
    Superseded,
}

impl Use {
    /// Judges a certificate by its serial number, `serial` being the newest that was used.
    pub(super) fn of(shown: &[u8], serial: &[u8], pending: Option<&Pending>) -> Self {
        let newest = pending.map_or(serial, |pending| pending.serial.as_slice());
        match shown {
            shown if shown == serial => Self::Known,
            // The authority puts the time of issue first.
            shown if shown >= newest => Self::First,
            _ => Self::Superseded,
        }
    }
}

impl Pending {
    /// Issues a certificate to `key`, to be used from now on.
    pub(super) fn issue(
        authority: &Authority,
        key: &PublicKey,
        leaf: &Leaf,
        token: Vec<u8>,
    ) -> Result<Self, klnet_wire::identity::authority::IssueError> {
        let chain = authority.issue(key, leaf)?;
        let certificate = chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
        Ok(Self { serial: leaf.principal.serial.clone(), leaf: certificate, token })
    }

    /// The whole chain, if `authority` has issued it, and it is good and still worth giving out: a clock that was ahead
    /// may have issued one whose time has not come.
    pub(super) fn chain(&self, authority: &Authority, leaf: &Leaf) -> Option<Vec<CertificateDer<'static>>> {
        let chain = authority.chain_of(CertificateDer::from(self.leaf.clone()));
        let (trust, role) = (authority.trust(), leaf.principal.role);
        let good =
            |at| trust.verify(&chain, &[role], unix(at)).is_ok_and(|holder| holder.serial == self.serial);
        (good(leaf.now) && good(leaf.now + WORTH_GIVING)).then_some(chain)
    }
}

/// A certificate that is nearer to its end is issued anew rather than given out again.
const WORTH_GIVING: Duration = Duration::from_secs(AGENT_LIFE.as_secs() / 3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_certificate_is_good_until_the_first_use_of_the_new_one() {
        let pending = pending(&[0x40, 7]);
        assert_eq!(Use::of(&[0x40, 5], &[0x40, 5], Some(&pending)), Use::Known);
        assert_eq!(Use::of(&[0x40, 7], &[0x40, 5], Some(&pending)), Use::First);
        assert_eq!(Use::of(&[0x40, 7], &[0x40, 7], None), Use::Known);
        assert_eq!(Use::of(&[0x40, 5], &[0x40, 7], None), Use::Superseded);
    }

    #[test]
    fn one_that_was_issued_after_a_backup_is_taken_by_the_restored_store() {
        assert_eq!(Use::of(&[0x40, 9], &[0x40, 5], None), Use::First);
        assert_eq!(Use::of(&[0x40, 9], &[0x40, 5], Some(&pending(&[0x40, 7]))), Use::First);
        assert_eq!(Use::of(&[0x40, 6], &[0x40, 5], Some(&pending(&[0x40, 7]))), Use::Superseded);
    }

    fn pending(serial: &[u8]) -> Pending {
        Pending { serial: serial.to_vec(), ..Pending::default() }
    }
}
