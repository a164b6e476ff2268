//! What systemd is told (sd_notify(3)). Without a supervisor there is nobody to tell, and nothing depends on it.

use sd_notify::NotifyState;

/// This process serves.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Another process is about to take this one's place.
pub(super) fn reloading() {
    // With the time, as systemd from 253 on wants it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Another process has taken this one's place. It says itself that it is ready, after this.
pub(super) fn succeeded_by(process: u32) {
    notify(&[NotifyState::MainPid(process)]);
}

/// This process is about to end.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
