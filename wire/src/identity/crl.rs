//! Revocation lists (RFC 5280, 5): exactly one for each issuer, never an older one than before, and none past its time.
//!
//! A list is verified by its issuer's key before anything else in it is read. What a handshake needs is then one look-up.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::chain_error::ChainError;
use crate::signed::PublicKey;

/// A list that its issuer signed.
#[derive(Debug)]
pub struct Crl {
    issuer: PublicKey,
    number: u64,
    /// Unix seconds.
    next_update: u64,
    der: Vec<u8>,
    list: CertRevocationList<'static>,
}

/// The newest list of each issuer. Whoever verifies certificates of an issuer without one refuses them.
#[derive(Debug, Default)]
pub struct Crls(RwLock<Vec<Arc<Crl>>>);

/// Whether a list past its time, or none, refuses a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It does.
    Enforced,
    /// It does not: for fetching a newer one. Who is on the list is refused all the same.
    Waived,
}

/// What a list changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// It is newer and was taken: store it.
    Newer,
    /// It is the one already known.
    Known,
}

/// Why a list was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// It is longer than any list is.
    #[error("revocation list of {0} bytes exceeds the limit of {LIMIT}")]
    TooLong(usize),
    /// It cannot be read.
    #[error("the revocation list cannot be read")]
    Malformed,
    /// No issuer that is known signed it.
    #[error("the revocation list is not signed by an issuer of this fabric")]
    Signature,
    /// It was replaced before.
    #[error("revocation list {offered} is older than list {known}, which is known")]
    Older {
        /// The number known.
        known: u64,
        /// The number offered.
        offered: u64,
    },
    /// There are too many issuers.
    #[error("there are lists of {ISSUERS_LIMIT} issuers already")]
    Issuers,
}

impl Crl {
    /// Reads a list that one of `issuers` signed.
    ///
    /// # Errors
    /// [`CrlError`].
    pub fn verify(der: &[u8], issuers: impl IntoIterator<Item = PublicKey>) -> Result<Self, CrlError> {
        if der.len() > LIMIT {
            return Err(CrlError::TooLong(der.len()));
        }
        let (rest, read) = CertificateRevocationList::from_der(der).map_err(|_| CrlError::Malformed)?;
        if !rest.is_empty() {
            return Err(CrlError::Malformed);
        }
        let (signed, signature) = (read.tbs_cert_list.as_ref(), &read.signature_value.data);
        let mut issuers = issuers.into_iter();
        let issuer = issuers.find(|issuer| issuer.verify_asn1(signed, signature).is_ok());
        let issuer = issuer.ok_or(CrlError::Signature)?;
        // From here on it is the issuer's word.
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).ok();
        let number = read.crl_number().and_then(|number| u64::try_from(number).ok());
        let next_update = read.next_update().and_then(seconds);
        let list = OwnedCertRevocationList::from_der(der).map_err(|_| CrlError::Malformed)?;
        let list = CertRevocationList::from(list);
        if list.issuing_distribution_point().is_some() {
            return Err(CrlError::Malformed); // not of all certificates
        }
        Ok(Self {
            issuer,
            number: number.ok_or(CrlError::Malformed)?,
            next_update: next_update.ok_or(CrlError::Malformed)?,
            der: der.to_vec(),
            list,
        })
    }

    /// Its number, which rises from list to list.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whose list it is.
    pub const fn issuer(&self) -> &PublicKey {
        &self.issuer
    }

    /// The list as it was signed.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether its time is not over.
    pub fn is_fresh(&self, now: UnixTime) -> bool {
        now.as_secs() <= self.next_update
    }

    fn check(&self, serial: &[u8], now: UnixTime, freshness: Freshness) -> Result<(), ChainError> {
        match self.list.find_serial(serial) {
            Ok(None) if freshness == Freshness::Waived || self.is_fresh(now) => Ok(()),
            Ok(None) => {
                let ago = now.as_secs().saturating_sub(self.next_update);
                Err(ChainError::StaleList(Duration::from_secs(ago)))
            }
            // What cannot be looked up may be there.
            Ok(Some(_)) | Err(_) => Err(ChainError::Revoked),
        }
    }
}

impl Crls {
    /// Takes a list if it is newer than the issuer's known one, which it replaces.
    ///
    /// # Errors
    /// [`CrlError::Older`] or [`CrlError::Issuers`]; what is known stays.
    pub fn take(&self, crl: Crl) -> Result<Taken, CrlError> {
        let mut lists = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = lists.iter().position(|known| known.issuer == crl.issuer);
        let known = place.map(|place| lists[place].number);
        match (known, place) {
            (Some(known), _) if known > crl.number => Err(CrlError::Older { known, offered: crl.number }),
            (Some(known), _) if known == crl.number => Ok(Taken::Known),
            (_, None) if lists.len() >= ISSUERS_LIMIT => Err(CrlError::Issuers),
            (_, place) => {
                place.into_iter().for_each(|place| drop(lists.swap_remove(place)));
                lists.push(Arc::new(crl));
                Ok(Taken::Newer)
            }
        }
    }

    /// Forgets the lists of whoever is no issuer any more, and takes those of `offered` that an issuer signed and that are
    /// newer. What does not pass is left out, and said: the list before stays in force.
    pub fn update(&self, issuers: &[PublicKey], offered: &[Vec<u8>]) -> (Taken, Vec<CrlError>) {
        self.retain(issuers);
        let (mut newer, mut left_out) = (Taken::Known, Vec::new());
        for der in offered {
            match Crl::verify(der, issuers.iter().cloned()).and_then(|crl| self.take(crl)) {
                Ok(Taken::Newer) => newer = Taken::Newer,
                Ok(Taken::Known) => {}
                Err(error) => left_out.push(error),
            }
        }
        (newer, left_out)
    }

    /// Forgets the lists of whoever is no issuer any more.
    pub fn retain(&self, issuers: &[PublicKey]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|crl| issuers.contains(&crl.issuer));
    }

    /// Checks a certificate of `issuer`.
    ///
    /// # Errors
    /// [`ChainError::Revoked`], and unless `freshness` is waived [`ChainError::NoList`] and [`ChainError::StaleList`].
    pub fn check(
        &self,
        issuer: &PublicKey,
        serial: &[u8],
        now: UnixTime,
        freshness: Freshness,
    ) -> Result<(), ChainError> {
        match (self.all().into_iter().find(|crl| crl.issuer == *issuer), freshness) {
            (Some(crl), _) => crl.check(serial, now, freshness),
            (None, Freshness::Waived) => Ok(()),
            (None, Freshness::Enforced) => Err(ChainError::NoList),
        }
    }

    /// Checks a serial number, which no other issuer has given, against every list.
    ///
    /// # Errors
    /// [`ChainError::Revoked`] if any names it, else [`ChainError::StaleList`] if the time of any is over.
    pub fn check_all(&self, serial: &[u8], now: UnixTime) -> Result<(), ChainError> {
        let lists = self.all();
        lists.iter().try_for_each(|crl| crl.check(serial, now, Freshness::Waived))?;
        lists.iter().try_for_each(|crl| crl.check(serial, now, Freshness::Enforced))
    }

    /// Whether every one of `issuers` has a list whose time is not over.
    pub fn are_fresh(&self, issuers: &[PublicKey], now: UnixTime) -> bool {
        let lists = self.all();
        issuers.iter().all(|issuer| lists.iter().any(|crl| crl.issuer == *issuer && crl.is_fresh(now)))
    }

    /// Whether every one of `issuers` has a list of this number or a higher one.
    pub fn are_of(&self, issuers: &[PublicKey], number: u64) -> bool {
        let lists = self.all();
        issuers.iter().all(|issuer| lists.iter().any(|crl| crl.issuer == *issuer && crl.number >= number))
    }

    /// Every list.
    pub fn all(&self) -> Vec<Arc<Crl>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The longest list that is read, in bytes: some 85,000 revoked certificates that have not ended.
pub const LIMIT: usize = 4 * 1024 * 1024;
/// Most issuers: a rotation leaves two.
const ISSUERS_LIMIT: usize = 8;

#[cfg(test)]
mod tests;
