//! `klpoll-open`: opens packet sockets for `klpoll`, which has no right to; see `klnet_discovery::net::opener`.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use klnet_discovery::net::opener;

fn main() -> ExitCode {
    let stream = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    match stream.and_then(|stream| opener::serve(&stream)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "klpoll-open: klpoll starts this program, with a socket as its standard input: {error}"
            );
            ExitCode::FAILURE
        }
    }
}
