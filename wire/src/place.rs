//! Where somebody answers, and which device that has to be.

use crate::id::DeviceId;

/// A place as people write it: `[DEVICE@]HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name or an address.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// The one device that may answer there. Without, a server of the fabric answers.
    pub device: Option<DeviceId>,
}

/// Text that names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAPlace {
    /// There is no host, or no port after the colon.
    #[error("{0:?} is no HOST:PORT")]
    Host(String),
    /// What stands before the `@` is no identifier.
    #[error("{0:?} does not begin with a device's identifier of 32 hexadecimal digits")]
    Device(String),
}

impl Place {
    /// Reads a place; `port` is meant where none is written. An IPv6 address with a port stands in brackets.
    ///
    /// # Errors
    /// [`NotAPlace`].
    pub fn parse(text: &str, port: u16) -> Result<Self, NotAPlace> {
        let bad = || NotAPlace::Host(text.to_owned());
        let (device, place) = match text.split_once('@') {
            Some((device, place)) => {
                (Some(device.parse().map_err(|_| NotAPlace::Device(text.to_owned()))?), place)
            }
            None => (None, text),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().map_err(|_| bad())?)
            }
            _ => (place, port),
        };
        let host =
            host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']')).ok_or_else(bad)?;
        if host.is_empty() { Err(bad()) } else { Ok(Self { host: host.to_owned(), port, device }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_mostly_a_port() {
        let place = |text| Place::parse(text, 1443).ok().map(|place| (place.host, place.port));
        assert_eq!(place("a.example"), Some(("a.example".to_owned(), 1443)));
        assert_eq!(place("a.example:7"), Some(("a.example".to_owned(), 7)));
        assert_eq!(place("::1"), Some(("::1".to_owned(), 1443)));
        assert_eq!(place("[::1]:7"), Some(("::1".to_owned(), 7)));
        assert_eq!(place("[::1]"), Some(("::1".to_owned(), 1443)));
        for text in ["", ":7", "a:b", "[::1:7", "a:70000"] {
            assert_eq!(place(text), None, "{text}");
        }
    }

    #[test]
    fn the_device_that_is_to_answer_there_may_stand_before_it() {
        let device = DeviceId::new([0x5f; 16]);
        let expected = Place { host: "::1".to_owned(), port: 7, device: Some(device) };
        assert_eq!(Place::parse(&format!("{device}@[::1]:7"), 1443), Ok(expected));
        assert_eq!(Place::parse("a.example", 1443).map(|place| place.device), Ok(None));
        for text in ["@a.example", "5f@a.example", "web-7@a.example"] {
            assert_eq!(Place::parse(text, 1443), Err(NotAPlace::Device(text.to_owned())));
        }
        let nowhere = format!("{device}@");
        assert_eq!(Place::parse(&nowhere, 1443), Err(NotAPlace::Host(nowhere)));
    }
}
