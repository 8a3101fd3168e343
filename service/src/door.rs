//! The page's door: who may come in and by which certificate, both exchanged while the process runs.
//!
//! Invariant: what cannot be read leaves the old one in place.

use std::path::PathBuf;
use std::sync::Arc;

use chaperone_web::{Access, Certificate, WebConfig, certificate};
use openssl::ssl::SslAcceptor;
use tokio::sync::watch;

use crate::app::Serves;
use crate::config::Web;
use crate::exit::{Code, Failure};

/// What can be exchanged, and where the certificate is read from.
pub struct Door {
    web: Web,
    access: watch::Sender<Arc<Access>>,
    certificate: Option<(PathBuf, PathBuf, watch::Sender<Arc<SslAcceptor>>)>,
}

/// What the listener gets of it.
pub struct Opened {
    /// Whom it answers.
    pub config: WebConfig,
    /// What it is encrypted with.
    pub certificate: Option<Certificate>,
}

impl Door {
    /// Reads the certificate, if there are pages to protect.
    ///
    /// # Errors
    /// [`Code::Configuration`] naming the file.
    pub fn new(web: Web, serves: Serves) -> Result<Self, Failure> {
        let wanted = web.certificate.clone().filter(|_| serves == Serves::Page);
        let certificate = wanted.map(|(chain, key)| {
            let read = certificate(&chain, &key).map_err(|e| Failure::new(Code::Configuration, format!("web: {e}")))?;
            Ok::<_, Failure>((chain, key, watch::Sender::new(Arc::new(read))))
        });
        let access = watch::Sender::new(Arc::clone(&web.access));
        Ok(Self { web, access, certificate: certificate.transpose()? })
    }

    /// Whether connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.certificate.is_some()
    }

    /// For the listener.
    pub fn opened(&self) -> Opened {
        let config = WebConfig {
            allowed_hosts: self.web.allowed_hosts.clone(),
            access: self.access.subscribe(),
            rate: self.web.rate,
            ..WebConfig::default()
        };
        Opened { config, certificate: self.certificate.as_ref().map(|(_, _, sender)| sender.subscribe()) }
    }

    /// Reads the certificate again; it is not in use yet.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn prepare(&self) -> Result<Option<SslAcceptor>, String> {
        let read = self.certificate.as_ref().map(|(chain, key, _)| certificate(chain, key));
        read.transpose().map_err(|e| format!("web: {e}"))
    }

    /// From the next request and the next connection on.
    pub fn change(&self, web: &Web, read: Option<SslAcceptor>) {
        self.access.send_replace(Arc::clone(&web.access));
        if let (Some((_, _, sender)), Some(read)) = (&self.certificate, read) {
            sender.send_replace(Arc::new(read));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_cannot_be_read_is_said_by_the_door_that_needs_it() {
        let mut web = Web::local(([127, 0, 0, 1], 0).into());
        web.certificate = Some(("/nowhere/chain.pem".into(), "/nowhere/key.pem".into()));
        let failure = Door::new(web.clone(), Serves::Page).err().expect("no such file");
        assert_eq!(failure.code, Code::Configuration);
        assert!(failure.message.contains("/nowhere/chain.pem"), "{failure}");
        // Health alone is not encrypted.
        assert!(Door::new(web, Serves::Health(([127, 0, 0, 1], 0).into())).is_ok_and(|door| !door.is_encrypted()));
    }

    #[test]
    fn who_may_come_in_changes_for_a_door_that_is_open() {
        let web = Web::local(([127, 0, 0, 1], 0).into());
        let door = Door::new(web.clone(), Serves::Page).expect("good");
        let opened = door.opened();
        assert!(!opened.config.access.borrow().is_on());
        let closed = Access { anonymous: None, ..Access::default() };
        door.change(&Web { access: Arc::new(closed), ..web }, None);
        assert!(opened.config.access.borrow().is_on());
    }
}
