//! The certificate authority of a fabric: a root that may go offline, and an issuing key that signs leaves.

use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    PublicKeyData, RevokedCertParams, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::role::{Principal, Role};
use super::trust::{ChainError, Trust, p256_spki, public_key_of};
use crate::id::FabricId;
use crate::signed::PublicKey;
use crate::signing::{KeyError, SigningKey};

/// The issuing authority: a certificate under the root, and its key.
#[derive(Debug)]
pub struct Authority {
    trust: Trust,
    certificate: CertificateDer<'static>,
    key: SigningKey,
}

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request is no PKCS #10, or its signature is not by the key in it.
    #[error("the certificate request cannot be read or is not signed by its own key")]
    Request,
    /// The key in the request is not P-256.
    #[error("the certificate request is not for a P-256 key")]
    Key,
    /// The key that was to sign cannot be used.
    #[error(transparent)]
    Unusable(#[from] KeyError),
    /// A certificate could not be built.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A stored certificate is damaged.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Makes a fabric's first root certificate, valid for [`ROOT_LIFE`]. Its key names the fabric.
///
/// # Errors
/// [`IssueError`] when it cannot be built.
pub fn make_root(key: &SigningKey, now: SystemTime) -> Result<Trust, IssueError> {
    root_of(key, None, now)
}

/// Makes another root certificate of a fabric that has one.
///
/// # Errors
/// [`IssueError`] when it cannot be built.
pub fn make_next_root(key: &SigningKey, fabric: FabricId, now: SystemTime) -> Result<Trust, IssueError> {
    root_of(key, Some(fabric), now)
}

fn root_of(key: &SigningKey, fabric: Option<FabricId>, now: SystemTime) -> Result<Trust, IssueError> {
    let mut params = authority_params("klnet root", key, now, ROOT_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    if let Some(fabric) = fabric {
        params.subject_alt_names.push(SanType::URI(format!("spiffe://{fabric}").try_into()?));
    }
    let certificate = params.self_signed(key)?;
    Ok(Trust::new(certificate.der().clone())?)
}

impl Authority {
    /// Makes an issuing authority under the root, valid for [`AUTHORITY_LIFE`].
    ///
    /// # Errors
    /// [`IssueError`] when it cannot be built.
    pub fn make(
        trust: Trust,
        root_key: &SigningKey,
        key: SigningKey,
        now: SystemTime,
    ) -> Result<Self, IssueError> {
        let mut params = authority_params("klnet issuing authority", &key, now, AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        // The usages a leaf may have; a verifier that asks for one asks the whole path for it.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let roles = Role::ALL.map(|role| ExtendedKeyUsagePurpose::Other(role.oid().to_vec()));
        params.extended_key_usages.extend(roles);
        let root = Issuer::from_ca_cert_der(trust.root(), root_key)?;
        let certificate = params.signed_by(&key, &root)?.der().clone();
        Ok(Self { trust, certificate, key })
    }

    /// Puts an authority together again from its stored parts.
    pub const fn restore(trust: Trust, certificate: CertificateDer<'static>, key: SigningKey) -> Self {
        Self { trust, certificate, key }
    }

    /// Issues a leaf to the key of a PKCS #10 request (RFC 2986). Every name the request asks for is ignored.
    ///
    /// # Errors
    /// [`IssueError`] when the request is not sound.
    pub fn issue_to_request(
        &self,
        request: &[u8],
        leaf: &Leaf,
    ) -> Result<(Vec<CertificateDer<'static>>, PublicKey), IssueError> {
        let key = request_key(request)?;
        Ok((self.issue(&key, leaf)?, key))
    }

    /// The chain of a leaf that this authority has issued: leaf, authority, root.
    pub fn chain_of(&self, leaf: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        vec![leaf, self.certificate.clone(), self.trust.root().clone()]
    }

    /// Issues a leaf to a P-256 key, and gives the chain: leaf, authority, root.
    ///
    /// # Errors
    /// [`IssueError`] when the key is of another kind.
    pub fn issue(&self, key: &PublicKey, leaf: &Leaf) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let PublicKey::P256(point) = key else { return Err(IssueError::Key) };
        let key = SubjectPublicKeyInfo::from_der(&p256_spki(point)).map_err(|_| IssueError::Key)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        let certificate = leaf.params()?.signed_by(&key, &issuer)?;
        Ok(self.chain_of(certificate.der().clone()))
    }

    /// Signs a list of revoked certificates: their serial numbers and when each was revoked, Unix seconds.
    ///
    /// # Errors
    /// [`IssueError`] when it cannot be built.
    pub fn revoke(
        &self,
        number: u64,
        revoked: &[(Vec<u8>, u64)],
        now: SystemTime,
        life: Duration,
    ) -> Result<Vec<u8>, IssueError> {
        let entry = |(serial, at): &(Vec<u8>, u64)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: (SystemTime::UNIX_EPOCH + Duration::from_secs(*at)).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: (now - CLOCK_SLACK).into(),
            next_update: (now + life).into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        Ok(list.signed_by(&issuer)?.der().to_vec())
    }

    /// What this authority's certificates are verified against.
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The authority's own certificate.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's own key.
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Whether `key` is the key of this authority's certificate: a state directory put together wrongly is noticed.
    pub fn owns_its_key(&self) -> bool {
        public_key_of(&self.certificate).is_ok_and(|public| public == *self.key.public())
    }
}

/// What a leaf certificate says.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Whom it names.
    pub principal: Principal,
    /// Host names and addresses, for servers.
    pub hosts: Vec<String>,
    /// When it was made.
    pub now: SystemTime,
    /// How long it is valid from then.
    pub life: Duration,
}

impl Leaf {
    /// A leaf with a fresh serial number; [`Principal::serial`] is replaced by it.
    pub fn new(mut principal: Principal, hosts: Vec<String>, now: SystemTime, life: Duration) -> Self {
        principal.serial = serial_at(now);
        Self { principal, hosts, now, life }
    }

    fn params(&self) -> Result<CertificateParams, IssueError> {
        let role = self.principal.role;
        let mut params = CertificateParams::new(self.hosts.clone())?;
        params.subject_alt_names.push(SanType::URI(self.principal.uri().try_into()?));
        params.distinguished_name = name(&format!("klnet {role}"));
        params.serial_number = Some(SerialNumber::from_slice(&self.principal.serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            match role {
                Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
                Role::Agent | Role::Operator => ExtendedKeyUsagePurpose::ClientAuth,
            },
            ExtendedKeyUsagePurpose::Other(role.oid().to_vec()),
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (self.now - CLOCK_SLACK).into();
        params.not_after = (self.now + self.life).into();
        Ok(params)
    }
}

/// A PKCS #10 request for `key`, signed by it; names are the authority's business.
///
/// # Errors
/// [`IssueError`] when it cannot be built, or the key is in a token that does not sign now.
pub fn request(key: &SigningKey) -> Result<Vec<u8>, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("klnet request");
    match params.serialize_request(key) {
        Ok(request) => Ok(request.der().to_vec()),
        // rcgen does not pass on why a key did not sign.
        Err(rcgen::Error::RemoteKeyError) => {
            Err(key.ready().map_or_else(Into::into, |()| rcgen::Error::RemoteKeyError.into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The key of a PKCS #10 request (RFC 2986), which has signed it.
///
/// # Errors
/// [`IssueError`] when the request is not sound.
pub fn request_key(request: &[u8]) -> Result<PublicKey, IssueError> {
    let request = CertificateSigningRequestDer::from(request);
    let request = CertificateSigningRequestParams::from_der(&request).map_err(|_| IssueError::Request)?;
    PublicKey::try_from(request.public_key.der_bytes()).map_err(|_| IssueError::Key)
}

/// The key is part of the name: whoever finds an issuer by name finds the right one among those of a rotation.
fn authority_params(what: &str, key: &SigningKey, now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&format!("{what} {}", HEXLOWER.encode(&key.public().id())));
    params.serial_number = Some(SerialNumber::from_slice(&serial_at(now)));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = (now - CLOCK_SLACK).into();
    params.not_after = (now + life).into();
    params
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// 16 bytes, positive and never repeated (RFC 5280, 4.1.2.2): the microsecond of issue, then 64 random bits. Of two serial
/// numbers of one holder the greater was issued later, which a server knows even when a restored store does not.
fn serial_at(now: SystemTime) -> Vec<u8> {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).expect("the operating system gives randomness");
    let issued = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    serial[0] = 0x40;
    serial[1..8].copy_from_slice(&issued.to_be_bytes()[9..]);
    serial.to_vec()
}

/// When a certificate with this serial number was issued, Unix seconds; far in the future for one of another kind.
pub fn issued_at(serial: &[u8]) -> u64 {
    let micros =
        serial.get(1..8).map(|micros| micros.iter().fold(0, |time, byte| time << 8 | u64::from(*byte)));
    micros.map_or(u64::MAX, |micros| micros / 1_000_000)
}

impl PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        self.public().as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.public() {
            PublicKey::Ed25519(_) => &rcgen::PKCS_ED25519,
            PublicKey::P256(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_asn1(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// How long a root lives: longer than anything under it.
pub const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// How long an issuing authority lives.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long an agent's certificate lives; it is renewed at two thirds of that.
pub const AGENT_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// How long a server's certificate lives.
pub const SERVER_LIFE: Duration = Duration::from_secs(397 * 86_400);
/// How long an operator's certificate lives.
pub const OPERATOR_LIFE: Duration = Duration::from_secs(397 * 86_400);
/// Certificates are valid from a little before they are made, for clocks that are a little slow.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);
