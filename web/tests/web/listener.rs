//! Real connections: TLS, heads that never end, answers that nobody reads, too many of one address, the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chaperone_web::{Certificate, Connections, certificate, serve};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// A listener on a free port, and how to stop it.
struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
    _bench: fake::Bench,
}

async fn served(limits: Connections, certificate: Option<Certificate>) -> Served {
    let (router, bench) = scene();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let task = tokio::spawn(serve(listener, certificate, router, limits, stopped));
    Served { address, stop, task, _bench: bench }
}

fn quick() -> Connections {
    Connections { head: Duration::from_millis(200), write: Duration::from_millis(300), ..Connections::default() }
}

/// All that comes until the other end closes; the deadline is for a broken build only.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await;
    // A reset is an end as well.
    assert!(read.is_ok(), "the connection stays open; it said {}", String::from_utf8_lossy(&all));
    String::from_utf8_lossy(&all).into_owned()
}

async fn asked(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    rest(stream).await
}

#[tokio::test]
async fn a_head_that_never_ends_loses_its_connection() {
    let served = served(quick(), None).await;
    let mut slow = TcpStream::connect(served.address).await.expect("connect");
    slow.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ").await.expect("write");
    let mut silent = TcpStream::connect(served.address).await.expect("connect");
    assert!(!rest(&mut slow).await.contains("200 OK"));
    assert_eq!(rest(&mut silent).await, "");
    // The control: a whole head is answered, and the connection may then be idle as long as a head may take.
    let mut good = TcpStream::connect(served.address).await.expect("connect");
    assert!(asked(&mut good, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends() {
    let served = served(quick(), None).await;
    let mut stream = TcpStream::connect(served.address).await.expect("connect");
    // More answers than the buffers of both ends hold.
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let fill = async { while stream.write_all(request).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_secs(20), fill).await.is_ok(), "it goes on for ever");
}

#[tokio::test]
async fn heads_have_a_length_and_a_number_of_lines() {
    let served = served(Connections::default(), None).await;
    for (head, status) in [
        (format!("x: {}\r\n", "a".repeat(40 * 1024)), "431"),
        ("x: a\r\n".repeat(100), "431"),
        (format!("x: {}\r\n", "a".repeat(8 * 1024)), "200"),
    ] {
        let mut stream = TcpStream::connect(served.address).await.expect("connect");
        let request = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}\r\n");
        // It may be refused before all of it is written.
        drop(stream.write_all(request.as_bytes()).await);
        let answer = rest(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) || (status != "200" && answer.is_empty()),
            "{answer}"
        );
    }
    let mut stream = TcpStream::connect(served.address).await.expect("connect");
    let answer = asked(&mut stream, &format!("/api/v1/windows?topic={}", "a".repeat(9_000))).await;
    assert!(answer.starts_with("HTTP/1.1 414") && answer.contains("problem+json"), "{answer}");
}

#[tokio::test]
async fn the_end_waits_for_answers_and_not_for_idle_connections() {
    let served = served(Connections::default(), None).await;
    let mut idle = TcpStream::connect(served.address).await.expect("connect");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("write");
    let mut some = [0; 15];
    idle.read_exact(&mut some).await.expect("answer");
    served.stop.send(()).expect("runs");
    let ended = tokio::time::timeout(Duration::from_secs(10), served.task).await;
    assert!(matches!(ended, Ok(Ok(Ok(())))), "{ended:?}");
    assert!(TcpStream::connect(served.address).await.is_err());
}

/// A certificate for localhost and its key, in files.
fn files(dir: &std::path::Path, common_name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("key")).expect("key");
    let mut name = X509NameBuilder::new().expect("name");
    name.append_entry_by_nid(Nid::COMMONNAME, common_name).expect("name");
    let name = name.build();
    let mut builder = X509::builder().expect("certificate");
    builder.set_version(2).expect("version");
    builder.set_subject_name(&name).expect("subject");
    builder.set_issuer_name(&name).expect("issuer");
    builder.set_pubkey(&key).expect("key");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("time")).expect("time");
    builder.set_not_after(&Asn1Time::days_from_now(1).expect("time")).expect("time");
    builder.sign(&key, MessageDigest::sha256()).expect("signature");
    let (chain, secret) = (dir.join(format!("{common_name}.pem")), dir.join(format!("{common_name}-key.pem")));
    std::fs::write(&chain, builder.build().to_pem().expect("PEM")).expect("file");
    std::fs::write(&secret, key.private_key_to_pem_pkcs8().expect("PEM")).expect("file");
    (chain, secret)
}

/// An encrypted connection, and the name in the certificate of the other end.
async fn encrypted(address: SocketAddr) -> (tokio_openssl::SslStream<TcpStream>, String) {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("connector");
    connector.set_verify(SslVerifyMode::NONE);
    let ssl = connector
        .build()
        .configure()
        .expect("configuration")
        .verify_hostname(false)
        .into_ssl("localhost")
        .expect("ssl");
    let stream = TcpStream::connect(address).await.expect("connect");
    let mut stream = tokio_openssl::SslStream::new(ssl, stream).expect("stream");
    std::pin::Pin::new(&mut stream).connect().await.expect("handshake");
    let certificate = stream.ssl().peer_certificate().expect("certificate");
    let name = certificate.subject_name().entries().next().expect("name").data().to_string().expect("text");
    (stream, name)
}

#[tokio::test]
async fn tls_with_a_certificate_that_can_be_exchanged() {
    let dir = tempfile::tempdir().expect("directory");
    let ((chain, key), (other_chain, other_key)) = (files(dir.path(), "first"), files(dir.path(), "second"));
    let read = certificate(&chain, &key).expect("certificate");
    let (exchange, certificates) = tokio::sync::watch::channel(Arc::new(read));
    let served = served(quick(), Some(certificates)).await;
    let (mut stream, name) = encrypted(served.address).await;
    assert_eq!(name, "first");
    let answer = asked(&mut stream, "/healthz").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("strict-transport-security: max-age="),
        "{answer}"
    );
    exchange.send_replace(Arc::new(certificate(&other_chain, &other_key).expect("certificate")));
    assert_eq!(encrypted(served.address).await.1, "second");
    // A handshake that never ends, and one that is none.
    let mut silent = TcpStream::connect(served.address).await.expect("connect");
    assert_eq!(rest(&mut silent).await, "");
    let mut clear = TcpStream::connect(served.address).await.expect("connect");
    assert!(!asked(&mut clear, "/healthz").await.contains("200 OK"));

    let mixed = certificate(&chain, &other_key).err().expect("not its key");
    assert!(mixed.contains("second-key.pem"), "{mixed}");
    let missing = certificate(&dir.path().join("none.pem"), &key).err().expect("no file");
    assert!(missing.contains("none.pem"), "{missing}");
}
