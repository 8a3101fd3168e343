//! Connections: how many, from whom, for how long; in the clear or by TLS; HTTP/1.1 only.
//!
//! Invariants: whoever does not finish a request's head in time, or does not read an answer, loses the connection and
//! holds no place any longer; one address never has all places. A connection ends between two requests when the process
//! is asked to stop. Limits: [`Connections`].

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;
use tokio_openssl::SslStream;
use tower::{Layer as _, ServiceExt as _};

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection: a client, or a proxy before it.
    pub address: IpAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// Limits of connections.
#[derive(Debug, Clone)]
pub struct Connections {
    /// At the same time; more are closed at once.
    pub most: usize,
    /// Of one address.
    pub most_of_one: usize,
    /// From its beginning, or from the last answer, a connection has this long to send a whole request head; a TLS
    /// handshake as well.
    pub head: Duration,
    /// Whoever takes nothing of an answer for so long does not get the rest.
    pub write: Duration,
    /// Bytes of a request's head; a longer one is answered with 431.
    pub head_bytes: usize,
    /// Header lines of a request; more are answered with 431.
    pub headers: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            most: 512,
            most_of_one: 384,
            head: Duration::from_secs(15),
            write: Duration::from_secs(30),
            head_bytes: 32 * 1024,
            headers: 64,
        }
    }
}

/// The certificate that new connections are answered with; a sender may exchange it.
pub type Certificate = watch::Receiver<Arc<SslAcceptor>>;

/// Reads a certificate chain and its key (PEM). TLS 1.2 and 1.3 with Mozilla's intermediate list of ciphers.
///
/// # Errors
/// Which file, and OpenSSL's words; never its content.
pub fn certificate(chain: &std::path::Path, key: &std::path::Path) -> Result<SslAcceptor, String> {
    let words = |e: &openssl::error::ErrorStack| {
        let reasons: Vec<&str> = e.errors().iter().filter_map(openssl::error::Error::reason).collect();
        if reasons.is_empty() { "OpenSSL refuses it".to_owned() } else { reasons.join(", ") }
    };
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(|e| words(&e))?;
    builder.set_certificate_chain_file(chain).map_err(|e| format!("certificate {}: {}", chain.display(), words(&e)))?;
    builder.set_private_key_file(key, SslFiletype::PEM).map_err(|e| format!("key {}: {}", key.display(), words(&e)))?;
    builder
        .check_private_key()
        .map_err(|e| format!("key {} is not that of the certificate: {}", key.display(), words(&e)))?;
    Ok(builder.build())
}

/// Who has how many places.
#[derive(Default)]
struct Places(Mutex<(usize, HashMap<IpAddr, usize>)>);

/// One place; given back when dropped.
struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    fn take(self: &Arc<Self>, address: IpAddr, limits: &Connections) -> Option<Place> {
        let mut held = self.0.lock();
        let (all, by_address) = &mut *held;
        let own = by_address.get(&address).copied().unwrap_or_default();
        if *all >= limits.most || own >= limits.most_of_one {
            return None;
        }
        *all += 1;
        by_address.insert(address, own + 1);
        Some(Place { places: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.0.lock();
        let (all, by_address) = &mut *held;
        *all = all.saturating_sub(1);
        match by_address.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(by_address.remove(&self.address)),
        }
    }
}

/// Serves until `stop`, then ends each connection after the answer that it is at.
///
/// # Errors
/// When the listener itself fails for good.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<Certificate>,
    router: Router,
    limits: Connections,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut stop = pin!(stop);
    let (places, ending) = (Arc::<Places>::default(), GracefulShutdown::new());
    let limits = Arc::new(limits);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(e) if of_one_connection(&e) => continue,
                Err(e) => {
                    // Out of descriptors, most likely: others may give some back.
                    tracing::error!("the web listener cannot accept: {e}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let address = peer.ip().to_canonical();
        let Some(place) = places.take(address, &limits) else { continue };
        let (certificate, router, limits) = (certificate.clone(), router.clone(), Arc::clone(&limits));
        let watcher = ending.watcher();
        tokio::spawn(async move {
            if let Err(e) = connection(stream, peer, certificate, router, &limits, watcher).await {
                tracing::debug!("connection from {address}: {e}");
            }
            drop(place);
        });
    }
    drop(listener);
    ending.shutdown().await;
    Ok(())
}

/// Whether only the connection that was about to be accepted is lost.
fn of_one_connection(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    certificate: Option<Certificate>,
    router: Router,
    limits: &Connections,
    watcher: hyper_util::server::graceful::Watcher,
) -> Ended {
    let peer = Peer { address: peer.ip().to_canonical(), encrypted: certificate.is_some() };
    // Answers are small and awaited.
    stream.set_nodelay(true)?;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write));
    let stream = Box::pin(stream);
    let Some(certificate) = certificate else {
        return answer(stream, peer, router, limits, watcher).await;
    };
    let acceptor = Arc::clone(&certificate.borrow());
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, stream)?;
    tokio::time::timeout(limits.head, Pin::new(&mut stream).accept()).await??;
    answer(stream, peer, router, limits, watcher).await
}

async fn answer(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    limits: &Connections,
    watcher: hyper_util::server::graceful::Watcher,
) -> Ended {
    let service = Extension(peer)
        .layer(router)
        .map_request(|r: hyper::Request<hyper::body::Incoming>| r.map(axum::body::Body::new));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(64 * 1024))
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    Ok(watcher.watch(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_never_has_all_places_and_places_come_back() {
        let places = Arc::<Places>::default();
        let limits = Connections { most: 3, most_of_one: 2, ..Connections::default() };
        let [a, b]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let held = [places.take(a, &limits), places.take(a, &limits)];
        assert!(held.iter().all(Option::is_some) && places.take(a, &limits).is_none(), "the third of one");
        let other = places.take(b, &limits);
        assert!(other.is_some() && places.take(b, &limits).is_none(), "the fourth of all");
        drop(held);
        assert!(places.take(a, &limits).is_some());
        drop(other);
        assert_eq!(places.0.lock().0, 0);
        assert!(places.0.lock().1.is_empty());
    }
}
