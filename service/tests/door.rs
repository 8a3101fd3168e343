//! Log-in and TLS through the program itself: a token as `chaperone token` prints it opens the door, leaves with the
//! configuration, and every step is in the store's log of actions.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::{X509, X509NameBuilder};
use tempfile::TempDir;

struct Running {
    child: Child,
    dir: TempDir,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn write(dir: &TempDir, web: &str) {
    let data = dir.path().join("data").display().to_string();
    let text = format!(
        "data_dir = \"{data}\"\n[web]\nlisten = \"127.0.0.1:0\"\n{web}\n[kafka.k]\nbootstrap_servers = \"127.0.0.1:1\"\n"
    );
    std::fs::write(dir.path().join("chaperone.toml"), text).expect("a file");
}

fn run(dir: TempDir, web: &str) -> Running {
    write(&dir, web);
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.args(["run", "--config"]).arg(dir.path().join("chaperone.toml"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    Running { child, dir, url }
}

/// Status and body.
fn ask(running: &Running, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}{path}", running.url);
    let bearer = token.map(|t| format!("Bearer {t}")).unwrap_or_default();
    let mut answer = match method {
        "POST" => agent.post(url).header("authorization", bearer).send_empty().expect("an answer"),
        _ if token.is_some() => agent.get(url).header("authorization", bearer).call().expect("an answer"),
        _ => agent.get(url).call().expect("an answer"),
    };
    (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_token_opens_the_door_and_leaves_with_the_configuration() {
    let made = Command::new(env!("CARGO_BIN_EXE_chaperone"))
        .args(["token", "al\"ice", "--role", "admin"])
        .output()
        .expect("runs");
    let made = String::from_utf8(made.stdout).expect("text");
    let (token, table) = made.split_once("\n\n").expect("a token and a table");
    assert!(token.starts_with("chp_") && !table.contains(token), "{table}");
    let running = run(tempfile::tempdir().expect("a directory"), table);
    assert_eq!(ask(&running, "GET", "/api/v1/status", None).0, 401);
    assert_eq!(ask(&running, "GET", "/api/v1/status", Some("chp_00")).0, 401);
    assert_eq!(ask(&running, "GET", "/api/v1/status", Some(token)).0, 200);
    assert!(ask(&running, "GET", "/readyz", None).1.contains("\"problems\":[]"));
    // With another token in the file, an admin asks for it to be read: the old one is good no longer.
    let other = chaperone_web::token::generate().expect("random");
    write(
        &running.dir,
        &format!("[web.token.bob]\nrole = \"admin\"\nhash = \"{}\"", chaperone_web::token::hash(&other)),
    );
    assert_eq!(ask(&running, "POST", "/api/v1/reload", Some(token)).0, 202);
    until("the new token is known", || ask(&running, "GET", "/api/v1/status", Some(&other)).0 == 200);
    assert_eq!(ask(&running, "GET", "/api/v1/status", Some(token)).0, 401);
    let mut log = String::new();
    until("the reload is recorded", || {
        log = ask(&running, "GET", "/api/v1/actions", Some(&other)).1;
        log.contains("\"action\":\"reload\"")
    });
    assert!(
        log.contains("\"who\":\"al\\\"ice\"") && log.contains("ask for a reload") && log.contains("web.token"),
        "{log}"
    );
    assert!(!log.contains(&other) && !log.contains(token) && !log.contains("sha256"), "{log}");
}

#[test]
fn the_page_is_encrypted_where_it_has_a_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = PKey::from_rsa(Rsa::generate(2048).expect("key")).expect("key");
    let mut name = X509NameBuilder::new().expect("name");
    name.append_entry_by_text("CN", "localhost").expect("name");
    let name = name.build();
    let mut builder = X509::builder().expect("certificate");
    builder.set_subject_name(&name).expect("subject");
    builder.set_issuer_name(&name).expect("issuer");
    builder.set_pubkey(&key).expect("key");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("time")).expect("time");
    builder.set_not_after(&Asn1Time::days_from_now(1).expect("time")).expect("time");
    builder.sign(&key, MessageDigest::sha256()).expect("signature");
    let (chain, secret) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    std::fs::write(&chain, builder.build().to_pem().expect("PEM")).expect("file");
    std::fs::write(&secret, key.private_key_to_pem_pkcs8().expect("PEM")).expect("file");
    let running = run(dir, &format!("certificate_file = {chain:?}\nkey_file = {secret:?}"));
    let address = running.url.strip_prefix("https://").expect("it says so").to_owned();
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("connector");
    connector.set_verify(SslVerifyMode::NONE);
    let stream = TcpStream::connect(&address).expect("connects");
    let mut stream = connector.build().connect("localhost", stream).expect("a handshake");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("strict-transport-security"), "{answer}");
    let clear = TcpStream::connect(&address).expect("connects");
    (&clear).write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("written");
    let mut answer = String::new();
    (&clear).read_to_string(&mut answer).ok();
    assert!(!answer.contains("200 OK"), "{answer}");
}
