//! Tells a service manager how we are (`sd_notify`): `Type=notify` in docs/deploy/chaperone.service.
//!
//! Without `NOTIFY_SOCKET` nothing happens. A manager that cannot be told is worth a line in the log, never a failure.

use sd_notify::NotifyState;

/// Everything has been started: the store is open, the page is served.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Ends [`reloading`]; `said` is what `systemctl status` shows: what took effect, or why nothing did.
pub fn reloaded(said: &str) {
    // A line break would begin another assignment.
    tell(&[NotifyState::Ready, NotifyState::Status(&said.replace('\n', " "))]);
}

/// The configuration is being read again. [`reloaded`] must follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        // Without the time a manager of version 253 would take the reload for a failure.
        Err(e) => tracing::warn!("cannot read the monotonic clock for the service manager: {e}"),
    }
}

/// The end has begun: taps, intake and page are being closed.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::warn!("cannot tell the service manager {states:?}: {e}; is NOTIFY_SOCKET right?");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;
    use std::time::Duration;

    /// Runs itself again with a socket to talk to: a process cannot change its own environment safely.
    #[test]
    fn the_manager_hears_ready_reloading_stopping() {
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            super::ready();
            super::reloading();
            super::reloaded("as\nbefore");
            super::stopping();
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let itself = std::env::current_exe().expect("a path");
        let arguments = ["--exact", "supervisor::tests::the_manager_hears_ready_reloading_stopping"];
        let ended = Command::new(itself).args(arguments).env("NOTIFY_SOCKET", &path).output().expect("starts");
        assert!(ended.status.success());
        let mut heard = Vec::new();
        for _ in 0..4 {
            let mut text = [0; 256];
            let length = socket.recv(&mut text).expect("a message");
            heard.push(String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned());
        }
        let [ready, reloading, reloaded, stopping] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!((ready.trim(), stopping.trim()), ("READY=1", "STOPPING=1"));
        assert_eq!(reloaded.trim(), "READY=1\nSTATUS=as before");
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    }
}
