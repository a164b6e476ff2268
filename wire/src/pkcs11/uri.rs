//! Which key in which token: a PKCS #11 URI (RFC 7512), read strictly.
//!
//! ```text
//! pkcs11:token=klnet;object=device?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/klnet/pin
//! ```
//! Path attributes: `token`, `manufacturer`, `model`, `serial` (of the token; at least `token` or `serial`), `object`,
//! `id`, `type=private`. Query attributes: `module-path`, `pin-source`. Whatever else RFC 7512 knows is refused by name:
//! an attribute that is passed over would name another key than was meant.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A private key that is in a token, or is to be made there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUri {
    /// The PKCS #11 module, a shared library.
    pub module: PathBuf,
    /// The token.
    pub token: TokenName,
    /// The object's label.
    pub object: String,
    /// The object's `CKA_ID`; with it the object must be there already.
    pub id: Option<Vec<u8>>,
    /// The file that holds the PIN.
    pub pin_source: Option<PathBuf>,
}

/// What a token says of itself; what is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenName {
    /// Its label.
    pub label: Option<String>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
}

/// Which object of its token a key is, by `CKA_ID`: what a key file holds in place of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectId(pub Vec<u8>);

/// Why a URI names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme.
    #[error("it does not begin with pkcs11:")]
    Scheme,
    /// Longer than [`URI_LIMIT`].
    #[error("a URI of {0} bytes exceeds the limit of {URI_LIMIT}")]
    TooLong(usize),
    /// Not `name=value`, or with characters that must be percent-encoded.
    #[error("{0:?} is not an attribute of RFC 7512")]
    Malformed(String),
    /// An attribute that is there twice.
    #[error("the attribute {0} is there twice")]
    Twice(String),
    /// An attribute that is not understood here.
    #[error("the attribute {0} is not understood")]
    Unknown(String),
    /// A value that cannot be.
    #[error("the attribute {attribute} {reason}")]
    Value {
        /// Whose.
        attribute: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An attribute that must be there.
    #[error("the attribute {0} is missing")]
    Missing(&'static str),
    /// The PIN itself.
    #[error(
        "pin-value shows the PIN to whoever reads this: write it into a file of its own, pin-source=file:/PATH"
    )]
    PinValue,
}

impl FromStr for KeyUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (mut path, mut query) = parts(text)?;
        if query.0.contains_key("pin-value") {
            return Err(UriError::PinValue);
        }
        let mut label = |name| path.text(name);
        let token = TokenName {
            label: label("token")?,
            manufacturer: label("manufacturer")?,
            model: label("model")?,
            serial: label("serial")?,
        };
        let object = label("object")?.ok_or(UriError::Missing("object"))?;
        path.private()?;
        let id = path.bytes("id")?;
        let module = query.text("module-path")?.map(PathBuf::from).ok_or(UriError::Missing("module-path"))?;
        absolute("module-path", &module)?;
        let pin_source = query.text("pin-source")?.map(|source| pin_file(&source)).transpose()?;
        path.nothing_left()?;
        query.nothing_left()?;
        match token.label.is_some() || token.serial.is_some() {
            true => Ok(Self { module, token, object, id, pin_source }),
            false => Err(UriError::Missing("token")),
        }
    }
}

impl FromStr for ObjectId {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (mut path, query) = parts(text)?;
        path.private()?;
        let id = path.bytes("id")?.ok_or(UriError::Missing("id"))?;
        path.nothing_left()?;
        query.nothing_left()?;
        Ok(Self(id))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:id=")?;
        self.0.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
        f.write_str(";type=private")
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("label", &self.label),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
        ];
        let named = parts.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (place, (name, value)) in named.enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {value:?}")?;
        }
        Ok(())
    }
}

/// Attributes, decoded, that nobody has asked for yet.
struct Attributes<'a>(BTreeMap<&'a str, Vec<u8>>);

/// The path and the query.
fn parts(text: &str) -> Result<(Attributes<'_>, Attributes<'_>), UriError> {
    if text.len() > URI_LIMIT {
        return Err(UriError::TooLong(text.len()));
    }
    let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let query = query.map_or(Ok(Attributes(BTreeMap::new())), |query| Attributes::read(query, '&', "/?|"));
    Ok((Attributes::read(path, ';', "&")?, query?))
}

impl<'a> Attributes<'a> {
    /// Reads `name=value`s; in values the characters of `also` may stand for themselves beside those of both parts.
    fn read(text: &'a str, separator: char, also: &str) -> Result<Self, UriError> {
        let mut found = BTreeMap::new();
        for attribute in text.split(separator) {
            // Named without its value: that may be a PIN.
            let malformed = |name: &str| UriError::Malformed(name.to_owned());
            let (name, value) = attribute.split_once('=').ok_or_else(|| malformed(""))?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || !name.bytes().all(is_name) {
                return Err(malformed(""));
            }
            let value = decoded(value, also).ok_or_else(|| malformed(name))?;
            if found.insert(name, value).is_some() {
                return Err(UriError::Twice(name.to_owned()));
            }
        }
        Ok(Self(found))
    }

    fn bytes(&mut self, attribute: &'static str) -> Result<Option<Vec<u8>>, UriError> {
        match self.0.remove(attribute) {
            Some(value) if value.is_empty() => Err(UriError::Value { attribute, reason: "is empty" }),
            value => Ok(value),
        }
    }

    fn text(&mut self, attribute: &'static str) -> Result<Option<String>, UriError> {
        let text = self.bytes(attribute)?.map(String::from_utf8).transpose();
        text.map_err(|_| UriError::Value { attribute, reason: "is not UTF-8" })
    }

    /// What is asked for is a private key, whether that is said or not.
    fn private(&mut self) -> Result<(), UriError> {
        match self.text("type")?.as_deref() {
            None | Some("private") => Ok(()),
            Some(_) => Err(UriError::Value { attribute: "type", reason: "is not private" }),
        }
    }

    fn nothing_left(&self) -> Result<(), UriError> {
        self.0.keys().next().map_or(Ok(()), |name| Err(UriError::Unknown((*name).to_owned())))
    }
}

/// Percent-decodes a value; `None` for characters that must be encoded.
fn decoded(value: &str, also: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut decoded) = (value.bytes(), Vec::with_capacity(value.len()));
    while let Some(byte) = bytes.next() {
        let plain = byte.is_ascii_alphanumeric()
            || PLAIN.contains(char::from(byte))
            || also.contains(char::from(byte));
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            _ if plain => byte,
            _ => return None,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

/// The file of a pin-source. RFC 7512 leaves its form open: here it is a file, never a command.
fn pin_file(source: &str) -> Result<PathBuf, UriError> {
    let attribute = "pin-source";
    let path =
        source.strip_prefix("file:").ok_or(UriError::Value { attribute, reason: "is not file:/PATH" })?;
    let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
    absolute(attribute, &path)?;
    Ok(path)
}

fn absolute(attribute: &'static str, path: &Path) -> Result<(), UriError> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(UriError::Value { attribute, reason: "is not an absolute path" }),
    }
}

/// Longest URI that is read, in bytes.
pub const URI_LIMIT: usize = 2048;
/// What stands for itself in path and query: `unreserved` and `pk11-res-avail` of RFC 7512, 2.3.
const PLAIN: &str = "-._~:[]@!$'()*+,=";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_uri_means_what_it_says() {
        let uri = parse(
            "pkcs11:token=klnet;object=device?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/klnet/pin",
        );
        let uri = uri.unwrap();
        assert_eq!(uri.module, Path::new("/usr/lib/softhsm/libsofthsm2.so"));
        assert_eq!(uri.token, TokenName { label: Some("klnet".into()), ..TokenName::default() });
        assert_eq!((uri.object.as_str(), uri.id), ("device", None));
        assert_eq!(uri.pin_source.as_deref(), Some(Path::new("/etc/klnet/pin")));
    }

    #[test]
    fn every_attribute_is_decoded() {
        let uri = parse(
            "pkcs11:object=my%20key&co;id=%00%ff;serial=a:[1]@!$'()*+,=;manufacturer=%c3%89;model=m;type=private?module-path=/a%3bb",
        )
        .unwrap();
        assert_eq!((uri.object.as_str(), uri.id), ("my key&co", Some(vec![0, 0xff])));
        assert_eq!(uri.token.to_string(), r#"manufacturer "É", model "m", serial "a:[1]@!$'()*+,=""#);
        assert_eq!((uri.module, uri.pin_source), (PathBuf::from("/a;b"), None));
    }

    #[test]
    fn whatever_is_not_understood_is_refused_by_name() {
        for (more, name) in
            [(";slot-id=1", "slot-id"), (";library-version=3", "library-version"), (";x-y=1", "x-y")]
        {
            let text = format!("pkcs11:token=t;object=o{more}?module-path=/m");
            assert_eq!(parse(&text), Err(UriError::Unknown(name.into())));
        }
        let error = parse("pkcs11:token=t;object=o?module-path=/m&module-name=softhsm2").unwrap_err();
        assert_eq!(error.to_string(), "the attribute module-name is not understood");
        // Each part has its own attributes.
        assert_eq!(parse("pkcs11:token=t;object=o;module-path=%2fm"), Err(UriError::Missing("module-path")));
    }

    #[test]
    fn a_pin_in_the_uri_is_refused_and_not_repeated() {
        for pin in ["canary", "can ary", "%zz-canary"] {
            let error =
                parse(&format!("pkcs11:token=t;object=o?module-path=/m&pin-value={pin}")).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
        let error = parse("pkcs11:token=t;object=o?module-path=/m&pin-value=1234").unwrap_err();
        assert_eq!(error, UriError::PinValue);
    }

    #[test]
    fn a_uri_that_is_not_whole_says_what_it_lacks() {
        for (text, error) in [
            ("file:/x", UriError::Scheme),
            ("PKCS11:token=t", UriError::Scheme),
            ("pkcs11:", UriError::Malformed(String::new())),
            ("pkcs11:token=t;object=o", UriError::Missing("module-path")),
            ("pkcs11:token=t?module-path=/m", UriError::Missing("object")),
            ("pkcs11:object=o?module-path=/m", UriError::Missing("token")),
            ("pkcs11:token=t;token=u;object=o?module-path=/m", UriError::Twice("token".into())),
            ("pkcs11:token=t;object=a b?module-path=/m", UriError::Malformed("object".into())),
            ("pkcs11:token=t;object=%4?module-path=/m", UriError::Malformed("object".into())),
            ("pkcs11:token=t;object=o;?module-path=/m", UriError::Malformed(String::new())),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert_eq!(
            parse(&format!("pkcs11:{}", "a".repeat(URI_LIMIT))),
            Err(UriError::TooLong(URI_LIMIT + 7))
        );
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for (text, attribute) in [
            ("pkcs11:token=;object=o?module-path=/m", "token"),
            ("pkcs11:token=%ff;object=o?module-path=/m", "token"),
            ("pkcs11:token=t;object=o;type=public?module-path=/m", "type"),
            ("pkcs11:token=t;object=o?module-path=m.so", "module-path"),
            ("pkcs11:token=t;object=o?module-path=/m&pin-source=|cat", "pin-source"),
            ("pkcs11:token=t;object=o?module-path=/m&pin-source=file:pin", "pin-source"),
            ("pkcs11:token=t;object=o?module-path=/m&pin-source=file://host/pin", "pin-source"),
        ] {
            let error = parse(text);
            assert!(
                matches!(error, Err(UriError::Value { attribute: a, .. }) if a == attribute),
                "{text}: {error:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_object_survives_its_text(id in proptest::collection::vec(any::<u8>(), 1..64)) {
            let id = ObjectId(id);
            prop_assert_eq!(id.to_string().parse::<ObjectId>(), Ok(id));
        }

        #[test]
        fn no_text_panics(text in "(pkcs11:)?[a-z=;?&%|/0-9é -]{0,80}") {
            let _ = (parse(&text), text.parse::<ObjectId>());
        }
    }

    fn parse(text: &str) -> Result<KeyUri, UriError> {
        text.parse()
    }
}
