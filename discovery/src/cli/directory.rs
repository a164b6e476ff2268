//! `klpoll directory`: the computers of a directory.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::mpsc;

use super::args::{DirectoryArgs, Login};
use super::failure::Failure;
use super::gather::{interruptible, members};
use super::output;
use crate::directory::{Bookmark, Member};
use crate::inventory::Inventory;
use crate::net::{Account, Directory, Reading, give_up_privileges, read_directory};

/// Reads, and shows the computers; where the next reading goes on is noted when this one is whole.
pub(super) async fn main(args: DirectoryArgs) -> Result<(), Failure> {
    let since = args.since.as_deref().map(last).transpose()?.flatten();
    let reading = reading(&args.directory, &args.login, since)?;
    let (begun, mut inventory) = (SystemTime::now(), Inventory::default());
    let learn = |member| {
        inventory.learn_member(&member, SystemTime::now());
    };
    let ended = members(learn, async |tell| read(&reading, tell).await).await?;
    output::show(&inventory, &output::Run { begun, asked: 0 }, args.show)?;
    match (&args.since, ended) {
        (Some(file), Some(bookmark)) => {
            note(file, &bookmark).map_err(|error| Failure::File(file.clone(), error))
        }
        _ => Ok(()),
    }
}

/// What to read, with everything that files say about it.
pub(super) fn reading(
    directory: &Directory,
    login: &Login,
    since: Option<Bookmark>,
) -> Result<Reading, Failure> {
    let account = match (&login.bind, &login.password_file) {
        (Some(name), Some(file)) => {
            let password = fs::read_to_string(file).map_err(|error| Failure::File(file.clone(), error))?;
            Some(Account { name: name.clone(), password: password.trim_end_matches(['\r', '\n']).to_owned() })
        }
        _ => None,
    };
    let roots = roots(login.ca.as_deref())?;
    let (directory, base) = (directory.clone(), login.base.clone());
    Ok(Reading { directory, dns: login.dns, ldaps: login.ldaps, base, account, roots, since })
}

/// Tells every computer.
pub(super) async fn read(reading: &Reading, tell: mpsc::Sender<Member>) -> Result<Option<Bookmark>, Failure> {
    give_up_privileges().map_err(Failure::Privileges)?;
    interruptible(async { Ok(read_directory(reading, &tell).await?) }).await
}

/// Certificates of a file, or those that this machine trusts.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let found: Vec<CertificateDer<'_>> = match file {
        Some(file) => {
            let failed = |error| Failure::File(file.to_owned(), io::Error::other(error));
            let certificates = CertificateDer::pem_file_iter(file).map_err(failed)?;
            certificates.collect::<Result<_, _>>().map_err(failed)?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    match roots.is_empty() {
        true => Err(Failure::NoRoots),
        false => Ok(roots),
    }
}

/// Where the last reading ended; nowhere when there was none.
fn last(file: &Path) -> Result<Option<Bookmark>, Failure> {
    let failed = |error| Failure::File(file.to_owned(), error);
    match fs::read_to_string(file) {
        Ok(text) => text.parse().map(Some).map_err(|error| failed(io::Error::other(error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Replaces the note in one step: a crash leaves the old one, and something is read twice.
fn note(file: &Path, bookmark: &Bookmark) -> io::Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, format!("{bookmark}\n"))?;
    fs::rename(beside, file)
}
