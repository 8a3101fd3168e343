//! What a door to other machines needs, and what is said where it is missing.

use crate::config::{Config, Lookup};

struct Fixed;
impl Lookup for Fixed {
    fn env(&self, name: &str) -> Option<String> {
        (name == "HASH").then(|| chaperone_web::token::hash("secret"))
    }
    fn file(&self, _: &std::path::Path) -> std::io::Result<String> {
        Ok(format!("{}\n", chaperone_web::token::hash("other")))
    }
}

const TOKEN: &str = "[web.token.ci]\nrole = \"viewer\"\nhash = \"${HASH}\"\n";
const TLS: &str = "certificate_file = \"/c.pem\"\nkey_file = \"/k.pem\"\n";
const HOST: &str = "allowed_hosts = [\"audit.example.com\"]\n";

fn parse(web: &str) -> Result<Config, String> {
    let text = format!("data_dir = \"d\"\n[web]\n{web}\n[kafka.a]\nbootstrap_servers = \"h:1\"\n");
    Config::parse(&text, &Fixed).map_err(|e| e.to_string())
}

#[test]
fn other_machines_need_log_in_and_encryption_or_a_proxy() {
    let open = "listen = \"0.0.0.0:80\"\n";
    for (web, lacks) in [
        (format!("{open}{HOST}"), vec!["log-in", "encryption", "behind_proxy"]),
        (format!("{open}{HOST}{TLS}"), vec!["log-in"]),
        (format!("{open}{HOST}{TOKEN}"), vec!["encryption"]),
        ("listen = \"[::]:80\"".to_owned(), vec!["log-in", "web.allowed_hosts: is empty"]),
        (format!("{open}{TLS}{TOKEN}"), vec!["web.allowed_hosts: is empty"]),
    ] {
        let said = parse(&web).expect_err(&web);
        assert!(said.contains("web."), "{said}");
        for word in lacks {
            assert!(said.contains(word), "{web}: {said}");
        }
    }
    for good in [
        format!("{open}{HOST}{TLS}{TOKEN}"),
        format!("{open}{HOST}behind_proxy = true\n"),
        format!("{open}{HOST}behind_proxy = true\n{TOKEN}"),
        "listen = \"10.0.0.1:80\"\nbehind_proxy = true".to_owned(),
        String::new(),
        "listen = \"[::1]:0\"".to_owned(),
        TOKEN.to_owned(),
    ] {
        parse(&good).unwrap_or_else(|e| panic!("{good}: {e}"));
    }
}

#[test]
fn whoever_is_not_of_this_machine_may_ask_so_often() {
    let rate = |web: &str| parse(web).expect("good").web.rate.per_second;
    assert_eq!(rate(""), 100_000);
    assert_eq!(rate("requests_per_second = 7"), 7);
    assert_eq!(rate("behind_proxy = true"), 100, "who asks a proxy of this machine may be anywhere");
    assert_eq!(rate("listen = \"10.0.0.1:80\"\nbehind_proxy = true"), 100);
}

#[test]
fn who_says_nothing_is_all_on_loopback_a_viewer_behind_a_proxy_and_nobody_else() {
    let anonymous = |web: &str| parse(web).expect("good").web.access.anonymous.map(chaperone_web::Role::as_str);
    assert_eq!(anonymous(""), Some("admin"));
    assert_eq!(anonymous("behind_proxy = true"), Some("viewer"));
    assert_eq!(anonymous("listen = \"10.0.0.1:80\"\nbehind_proxy = true"), Some("viewer"));
    assert_eq!(anonymous(TOKEN), None);
    assert_eq!(anonymous("[web.sso]\npeers = [\"127.0.0.1\"]"), None);
}

#[test]
fn every_mistake_names_its_key() {
    for (web, words) in [
        (TLS.lines().next().expect("line"), &["web.certificate_file", "key_file"][..]),
        (TLS.lines().nth(1).expect("line"), &["web.key_file", "certificate_file"]),
        ("session = \"10s\"", &["web.session", "1m to 30d"]),
        ("requests_per_second = 0", &["web.requests_per_second", "1 to 100000"]),
        ("allowed_hosts = [\"*\"]", &["web.allowed_hosts[0]", "log-in"]),
        ("allowed_hosts = [\"https://x\"]", &["web.allowed_hosts[0]", "https://x"]),
        ("[web.token.a]\nrole = \"viewer\"\nhash = \"hush\"", &["web.token.a.hash", "64 hex digits"]),
        ("[web.token.a]\nrole = \"root\"\nhash = \"${HASH}\"", &["web.token.a.role", "admin"]),
        ("[web.sso]\npeers = []", &["web.sso.peers", "is empty"]),
        ("[web.sso]\npeers = [\"proxy\"]", &["web.sso.peers[0]", "10.0.0.5"]),
        ("[web.sso]\npeers = [\"::1\"]\nheader = \"a b\"", &["web.sso.header", "a b"]),
    ] {
        let said = parse(web).expect_err(web);
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains("hush"), "{web}: {said}");
    }
}

#[test]
fn a_hash_may_be_a_reference_and_is_never_shown() {
    let web = "[web.token.a]\nrole = \"operator\"\nhash = \"@file:/x\"";
    let config = parse(web).expect("good");
    assert_eq!(config.web.access.tokens[0].role, chaperone_web::Role::Operator);
    let hash = chaperone_web::token::hash("other");
    assert!(!format!("{config:?}").contains(&hash[20..40]));
    let text =
        format!("data_dir = \"d\"\n{}\n[kafka.a]\nbootstrap_servers = \"h:1\"\n", web.replace("@file:/x", &hash));
    let shown = crate::config::effective(&text, &Fixed, crate::config::Secrets::Hidden).expect("good");
    assert!(shown.contains("[web.token.a]") && !shown.contains(&hash[20..40]), "{shown}");
}
