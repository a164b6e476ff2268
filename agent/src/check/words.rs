//! Plain words for what fails, and what to do about it.

use std::io::{self, ErrorKind};

use klnet_wire::identity::ChainError;
use klnet_wire::net::dial::DialError;
use klnet_wire::net::https::ApiError;
use klnet_wire::signing::KeyError;

use super::Trouble;
use crate::clock::{self, Skew};
use crate::discovery::DiscoveryError;
use crate::state::StateError;
use crate::status::{Connection, Status};

pub(super) fn of_state(error: &StateError) -> Trouble {
    let advice = match error {
        StateError::NotEnrolled(_) => {
            "paste the line that `klctl token create` prints: klnagent enroll --server …"
        }
        StateError::Io { error, .. } if error.kind() == ErrorKind::PermissionDenied => {
            "run klnagchk as root, or as the user that klnagent runs as"
        }
        StateError::Io { .. } => "check the folder; another one is named with --state DIR",
        StateError::Damaged { .. } | StateError::Chain(_) => {
            "restore the folder from a backup, or enrol again: klnagent enroll --force …"
        }
        StateError::Permissions(_) => {
            "do that; if others may have copied the key, revoke the device and enrol again"
        }
        StateError::NoToken(_) => "name the token again: device_key in the configuration",
        StateError::Key(error) => return of_key(error),
        StateError::Locked { .. } => {
            "one agent for each folder: stop the other, or name another folder with --state"
        }
    };
    (error.to_string(), advice.to_owned())
}

pub(super) fn of_key(error: &KeyError) -> Trouble {
    let advice = match error {
        KeyError::Module { .. } => "install the module, or correct module-path in device_key",
        KeyError::NoToken(_) => {
            "put the token in, or correct device_key; which there are tells: pkcs11-tool -L"
        }
        KeyError::ManyTokens(_) => "add serial=… to device_key; which there are tells: pkcs11-tool -L",
        KeyError::NoPin => {
            "write the PIN into a file that only the agent's account may read, and name it in device_key"
        }
        KeyError::PinFile { .. } => "correct that file; the agent's account alone may read it",
        KeyError::PinRefused(_) => {
            "correct the PIN in that file; klnagent tries it then. After a few wrong ones a token locks"
        }
        KeyError::PinLocked => "unlock it with the security officer's PIN: pkcs11-tool --init-pin",
        KeyError::NoKey(_) => {
            "put the right token in. A key that is gone is gone: enrol again: klnagent enroll --force …"
        }
        KeyError::Unfit { .. } => "name another object in device_key, or let enrolment make one",
        KeyError::Failed(_) => "try again; if it stays, ask what the token's own tools say",
    };
    (error.to_string(), advice.to_owned())
}

pub(super) fn of_dial(error: &DialError, skew: Option<Skew>) -> Trouble {
    match error {
        DialError::Resolve { .. } => {
            (error.to_string(), "check the server's name, and this device's DNS (resolv.conf)".into())
        }
        DialError::Tcp { address, error } => of_tcp(&address.to_string(), address.port(), error),
        DialError::Tls { address, error } => (
            format!("{address} answers, but not as a klnet server does: {error}"),
            "another program may have this port, or a proxy on the way breaks TLS open: exempt it there".into(),
        ),
        DialError::Certificate { error, .. } if clock::is_about_time(error) => {
            of_time("the server's certificate", error, skew)
        }
        DialError::Certificate { address, error } => (
            format!("{address} shows a certificate that is not accepted: {error}"),
            "somebody else answers there: a wrong server, or a proxy that breaks TLS open. Nothing was sent to it".into(),
        ),
    }
}

fn of_tcp(address: &str, port: u16, error: &io::Error) -> Trouble {
    match error.kind() {
        ErrorKind::ConnectionRefused => (
            format!("nothing listens at {address}: the connection is refused"),
            format!("is klserver running there, and is {port} its port? A firewall may refuse it too"),
        ),
        ErrorKind::TimedOut => (
            format!("no answer from {address}"),
            format!("a firewall on the way may drop it: let this device out to TCP port {port}"),
        ),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => (
            format!("no way to {address}: {error}"),
            "check this device's network and its default route".into(),
        ),
        _ => (format!("cannot connect to {address}: {error}"), "check this device's network".into()),
    }
}

pub(super) fn of_time(whose: &str, error: &ChainError, skew: Option<Skew>) -> Trouble {
    let advice = match skew {
        Some(skew) if skew.is_wrong() => {
            "set this device's clock, and keep it right: timedatectl set-ntp true"
        }
        Some(_) if whose.contains("server") => "the server's certificate has to be renewed, on the server",
        Some(_) => "enrol the device again with a new token: klnagent enroll --force …",
        None => "compare this device's clock with a good one first; the certificate may be right",
    };
    (clock::explain(whose, error, skew), advice.to_owned())
}

pub(super) fn of_discovery(error: &DiscoveryError) -> Trouble {
    let advice = match error {
        DiscoveryError::Api(ApiError::Refused { .. } | ApiError::Malformed(_))
        | DiscoveryError::Malformed(_) => {
            "another program may have this port, or the server is of another version"
        }
        DiscoveryError::Api(_) => "try again; see the steps above",
        DiscoveryError::Refused(_) => {
            "the agent keeps what it has. A server that was restored from an old backup signs old lists: renew them there"
        }
        DiscoveryError::State(_) => "check the state folder",
    };
    (error.to_string(), advice.to_owned())
}

pub(super) fn of_refusal(error: &ApiError) -> Trouble {
    match error {
        ApiError::Refused { message, .. } => (
            format!("the server refuses this device: {message}"),
            "ask its administrator. A device that was revoked comes back with a new token: klnagent enroll --force …"
                .into(),
        ),
        ApiError::Broken(reason) => of_closing(reason),
        other => (other.to_string(), "see the steps above".into()),
    }
}

pub(super) fn of_closing(reason: &str) -> Trouble {
    (
        format!("the server does not accept this device's certificate: {reason}"),
        "the device may be revoked or its certificate out of date; enrol again: klnagent enroll --force …"
            .into(),
    )
}

pub(super) fn of_agent(running: bool, status: Option<&Status>) -> Trouble {
    let last = status.and_then(|status| status.last_error.as_ref()).map(|error| error.text.as_str());
    match (running, status.map(|status| &status.connection)) {
        (_, Some(Connection::Banned { reason })) => (
            format!("klnagent has stopped: the server refuses this device for good: {reason}"),
            "ask its administrator; a revoked device comes back with a new token: klnagent enroll --force …"
                .into(),
        ),
        (false, _) => {
            ("no klnagent is running with this state".into(), "start it: systemctl start klnagent".into())
        }
        (true, _) => {
            let why = last.unwrap_or("it has not reached a server yet");
            (
                format!("klnagent runs but is not connected: {why}"),
                "it tries again by itself; see the steps above".into(),
            )
        }
    }
}
