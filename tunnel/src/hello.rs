//! First flights: one TLS record with a ClientHello, of which only the server name and ALPN are read.
//!
//! RFC 8446, 4.1.2 and 5.1; RFC 6066, 3; RFC 7301, 3.1.

use crate::label::Cookie;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a record that may become a ClientHello.
    Incomplete,
    /// A whole ClientHello.
    Hello(Hello),
}

/// What is read of a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Bytes of the whole record, its header included.
    pub record_len: usize,
    /// The server name in lower case, when there is one.
    pub server_name: Option<String>,
    /// The protocols offered, in order.
    pub alpn: Vec<Vec<u8>>,
}

/// First bytes that are no ClientHello in one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not a TLS handshake record.
    #[error("the first bytes are no TLS handshake record")]
    NotTls,
    /// A record longer than any first flight.
    #[error("first record of {0} bytes exceeds the limit of {RECORD_LIMIT}")]
    TooLong(usize),
    /// A handshake message that is no ClientHello, or one that does not end with its record.
    #[error("the first record is not one whole ClientHello")]
    NotClientHello,
    /// A ClientHello whose inside does not add up.
    #[error("the ClientHello cannot be read")]
    Malformed,
}

/// Reads the first bytes of a connection.
///
/// # Errors
/// [`HelloError`] as soon as they cannot become a ClientHello of at most [`RECORD_LIMIT`] bytes in one record.
pub fn parse(input: &[u8]) -> Result<Parsed, HelloError> {
    // Each byte is judged as it comes, so that garbage ends a connection at once.
    let header_fits = |at: usize, good: fn(u8) -> bool| input.get(at).is_none_or(|byte| good(*byte));
    if !header_fits(0, |kind| kind == HANDSHAKE) || !header_fits(1, |major| major == 3) {
        return Err(HelloError::NotTls);
    }
    let Some((header, rest)) = input.split_first_chunk::<HEADER_LEN>() else { return Ok(Parsed::Incomplete) };
    let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
    let record_len = HEADER_LEN + len;
    if record_len > RECORD_LIMIT {
        return Err(HelloError::TooLong(record_len));
    }
    if rest.first().is_some_and(|kind| *kind != CLIENT_HELLO) || len < 4 {
        return Err(HelloError::NotClientHello);
    }
    let Some(record) = rest.get(..len) else { return Ok(Parsed::Incomplete) };
    let mut body = Reader(record.get(1..).ok_or(HelloError::NotClientHello)?);
    let mut body = body.vector(3).filter(|_| body.0.is_empty()).ok_or(HelloError::NotClientHello)?;
    let (server_name, alpn) = client_hello(&mut body).ok_or(HelloError::Malformed)?;
    Ok(Parsed::Hello(Hello { record_len, server_name, alpn }))
}

type Names = (Option<String>, Vec<Vec<u8>>);

fn client_hello(body: &mut Reader<'_>) -> Option<Names> {
    let [major, _] = body.take(2)?.try_into().ok()?;
    let _random = body.take(32)?;
    let session = body.vector(1)?;
    let suites = body.vector(2)?;
    let compressions = body.vector(1)?;
    let mut extensions = body.vector(2)?;
    let even = !suites.0.is_empty() && suites.0.len().is_multiple_of(2);
    if major != 3 || session.0.len() > 32 || !even || compressions.0.is_empty() || !body.0.is_empty() {
        return None;
    }
    let (mut server_name, mut alpn) = (None, None);
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut extension = extensions.vector(2)?;
        let twice = match kind {
            SERVER_NAME => server_name.replace(host_name(&mut extension)?).is_some(),
            ALPN => alpn.replace(protocols(&mut extension)?).is_some(),
            _ => false,
        };
        if twice {
            return None;
        }
    }
    Some((server_name, alpn.unwrap_or_default()))
}

fn host_name(extension: &mut Reader<'_>) -> Option<String> {
    let mut list = extension.vector(2)?;
    let kind = list.number(1)?;
    let name = list.vector(2)?.0;
    if kind != 0 || !list.0.is_empty() || !extension.0.is_empty() || !(1..=255).contains(&name.len()) {
        return None;
    }
    let name = str::from_utf8(name).ok()?;
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
    printable.then(|| name.to_ascii_lowercase())
}

fn protocols(extension: &mut Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = extension.vector(2)?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.vector(1)?.0;
        if protocol.is_empty() || protocols.len() == ALPN_LIMIT {
            return None;
        }
        protocols.push(protocol.to_vec());
    }
    (extension.0.is_empty() && !protocols.is_empty()).then_some(protocols)
}

/// Takes bytes off the front of its input and never past its end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// A big-endian number of at most four bytes.
    fn number(&mut self, width: usize) -> Option<u32> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// A vector with its length in front (RFC 8446, 3.4).
    fn vector(&mut self, width: usize) -> Option<Reader<'a>> {
        let len = usize::try_from(self.number(width)?).ok()?;
        self.take(len).map(Reader)
    }
}

/// The first flight of a dial-back: a TLS 1.3 ClientHello with the cookie as its server name.
///
/// It is never answered; it has the shape of TLS so that middle boxes on the way see nothing unusual.
pub fn dial_back(cookie: &Cookie, random: [u8; 32], key_share: [u8; 32]) -> Vec<u8> {
    let name = cookie.server_name();
    let host = [&[0], &vector(2, name.as_bytes())[..]].concat();
    let share = [&X25519[..], &vector(2, &key_share)].concat();
    let extensions = [
        extension(SERVER_NAME, &vector(2, &host)),
        extension(10, &vector(2, &X25519)), // supported_groups
        extension(13, &vector(2, &[0x04, 0x03, 0x08, 0x04, 0x08, 0x07])), // signature_algorithms
        extension(43, &vector(1, &[0x03, 0x04])), // supported_versions: TLS 1.3
        extension(51, &vector(2, &share)),  // key_share
    ];
    let body = [
        &[0x03, 0x03],
        &random[..],
        &vector(1, &[]),
        &vector(2, &[0x13, 0x01, 0x13, 0x02, 0x13, 0x03]),
        &vector(1, &[0]),
        &vector(2, &extensions.concat()),
    ];
    let message = [&[CLIENT_HELLO], &vector(3, &body.concat())[..]].concat();
    [&[HANDSHAKE, 0x03, 0x01], &vector(2, &message)[..]].concat()
}

fn extension(kind: u32, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[2..], &vector(2, body)].concat()
}

fn vector(width: usize, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("a dial-back is far shorter");
    [&len.to_be_bytes()[4 - width..], body].concat()
}

/// Most bytes of a first flight, its header included.
pub const RECORD_LIMIT: usize = 2048;

/// Most protocols an initiator may offer.
const ALPN_LIMIT: usize = 16;

const HEADER_LEN: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u32 = 0;
const ALPN: u32 = 16;
const X25519: [u8; 2] = [0x00, 0x1d];

#[cfg(test)]
mod tests;
