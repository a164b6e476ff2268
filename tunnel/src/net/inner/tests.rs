use std::io::{Read, Write};

use rustls::client::ResolvesClientCert;
use rustls::{ClientConnection, ServerConnection};

use super::*;

#[test]
fn both_ends_learn_the_other_ends_key() {
    let (operator, device) = (SigningKey::generate_p256(), SigningKey::generate_p256());
    let (client, server) =
        handshake(initiator_config(&operator, device.public()), target_config(&device)).unwrap();
    assert_eq!(peer_key(&server).as_ref(), Ok(operator.public()));
    assert_eq!(peer_key(&client).as_ref(), Ok(device.public()));
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[test]
fn the_client_hello_fits_one_peek() {
    let key = SigningKey::generate_p256();
    let config = initiator_config(&key, key.public());
    let mut client = ClientConnection::new(config, name()).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    assert!(flight.len() <= 400, "{} bytes", flight.len());
    assert_eq!(usize::from(u16::from_be_bytes([flight[3], flight[4]])) + 5, flight.len(), "one record");
}

#[test]
fn an_agent_with_another_key_is_refused() {
    let (operator, device) = (SigningKey::generate_p256(), SigningKey::generate_p256());
    let imposter = SigningKey::generate_p256();
    let refused = handshake(initiator_config(&operator, device.public()), target_config(&imposter));
    let expected = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
    assert_eq!(refused.unwrap_err(), expected);
}

#[test]
fn a_key_that_is_shown_but_not_held_is_refused() {
    let (operator, device) = (SigningKey::generate_p256(), SigningKey::generate_p256());
    let thief = CertifiedKey::new(
        vec![CertificateDer::from(spki(operator.public()))],
        Arc::new(TlsKey(SigningKey::generate_p256())),
    );
    let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::new(thief));
    let refused = handshake(with_resolver(&device, Arc::new(resolver)), target_config(&device));
    assert_eq!(refused.unwrap_err(), Error::InvalidCertificate(CertificateError::BadSignature));
}

#[test]
fn a_client_without_a_key_is_refused() {
    #[derive(Debug)]
    struct Keyless;
    impl ResolvesClientCert for Keyless {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }
        fn has_certs(&self) -> bool {
            false
        }
        fn only_raw_public_keys(&self) -> bool {
            true
        }
    }
    let device = SigningKey::generate_p256();
    let refused = handshake(with_resolver(&device, Arc::new(Keyless)), target_config(&device));
    assert_eq!(refused.unwrap_err(), Error::NoCertificatesPresented);
}

#[test]
fn a_client_that_knows_only_x509_is_refused() {
    #[derive(Debug)]
    struct Chain(Arc<CertifiedKey>);
    impl ResolvesClientCert for Chain {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let (operator, device) = (SigningKey::generate_p256(), SigningKey::generate_p256());
    let config = with_resolver(&device, Arc::new(Chain(certified(&operator))));
    let refused = handshake(config, target_config(&device));
    assert!(matches!(refused, Err(Error::PeerIncompatible(_))), "{refused:?}");
}

#[test]
fn another_application_protocol_is_refused() {
    let (operator, device) = (SigningKey::generate_p256(), SigningKey::generate_p256());
    let mut config = Arc::unwrap_or_clone(initiator_config(&operator, device.public()));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let refused = handshake(Arc::new(config), target_config(&device));
    assert_eq!(refused.unwrap_err(), Error::NoApplicationProtocol);
}

#[test]
fn a_client_that_names_no_application_protocol_is_found_out() {
    let (operator, device) = (SigningKey::generate_p256(), SigningKey::generate_p256());
    let mut config = Arc::unwrap_or_clone(initiator_config(&operator, device.public()));
    config.alpn_protocols.clear();
    let (_, server) = handshake(Arc::new(config), target_config(&device)).unwrap();
    assert_eq!(peer_key(&server), Err(NotInner::Protocol));
}

#[test]
fn no_ticket_is_sent_and_nothing_is_resumed() {
    let (operator, device) = (SigningKey::generate_p256(), SigningKey::generate_p256());
    let (initiator, target) = (initiator_config(&operator, device.public()), target_config(&device));
    for _ in 0..2 {
        let (client, _) = handshake(initiator.clone(), target.clone()).unwrap();
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}

fn with_resolver(device: &SigningKey, resolver: Arc<dyn ResolvesClientCert>) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(initiator_config(device, device.public()));
    config.client_auth_cert_resolver = resolver;
    Arc::new(config)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("t0.klnet.internal").unwrap()
}

/// Runs a handshake in memory until neither end has more to say; the first error of either end ends it.
fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let mut client = ClientConnection::new(client, name()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    loop {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut up as &mut dyn Write).unwrap();
        }
        while server.wants_write() {
            server.write_tls(&mut down as &mut dyn Write).unwrap();
        }
        if up.is_empty() && down.is_empty() {
            return Ok((client, server));
        }
        let mut up = up.as_slice();
        while !up.is_empty() {
            server.read_tls(&mut up as &mut dyn Read).unwrap();
            server.process_new_packets()?;
        }
        let mut down = down.as_slice();
        while !down.is_empty() {
            client.read_tls(&mut down as &mut dyn Read).unwrap();
            client.process_new_packets()?;
        }
    }
}
