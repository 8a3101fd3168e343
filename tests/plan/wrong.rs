//! What is refused, with which code and words.

use anyhow::ensure;
use chaperone_tests::{Bed, Cluster};

use crate::scene::plan;

/// Nothing listens there.
const NOBODY: &str = "127.0.0.1:1";

fn refused(arguments: &[&str], code: i32, words: &[&str]) -> anyhow::Result<()> {
    let (found, out, err) = plan(arguments)?;
    ensure!(found == Some(code) && out.is_empty(), "{arguments:?}: {found:?} {out}{err}");
    for word in words {
        ensure!(err.contains(word), "{arguments:?}: no '{word}' in {err}");
    }
    Ok(())
}

#[test]
fn bad_usage_names_the_flag_and_what_is_allowed() -> anyhow::Result<()> {
    refused(&[], 64, &["--bootstrap"])?;
    refused(&["--bootstrap", "nohost"], 64, &["--bootstrap: 'nohost' is not host:port"])?;
    refused(&["--bootstrap", NOBODY, "--for", "0"], 64, &["--for", "1..=3600"])?;
    refused(&["--bootstrap", NOBODY, "--topics", "^("], 64, &["--topics[0]", "regular expression"])?;
    refused(&["--bootstrap", NOBODY, "--topics", "a b"], 64, &["--topics[0]", "begins with ^"])?;
    refused(&["--bootstrap", NOBODY, "--property", "sasl.password"], 64, &["--property", "KEY=VALUE"])?;
    let group = "group.id=x";
    refused(&["--bootstrap", NOBODY, "--property", group], 64, &["--property \"group.id\"", "is chaperone's own"])?;
    let unknown = "no.such=x";
    refused(&["--bootstrap", NOBODY, "--property", unknown], 64, &["--property \"no.such\"", "no such property"])?;
    refused(&["--bootstrap", NOBODY, "--config", "x"], 64, &["--config"])?;
    refused(&["--config", "no-such-file"], 78, &["cannot read the configuration no-such-file"])
}

#[test]
fn nobody_there_a_refused_login_a_missing_right_and_an_absent_topic() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    refused(&["--bootstrap", NOBODY], 69, &["no broker answers at 127.0.0.1:1", "--bootstrap"])?;
    let plain = cluster.bootstrap_plain();
    refused(&["--bootstrap", plain, "--topics", "no-such-topic"], 64, &["topic 'no-such-topic': does not exist"])?;
    refused(&["--bootstrap", plain, "--topics", "^no-such-.*"], 64, &["none of the", "matches"])?;
    let topic = cluster.fresh_topic("plan-hidden", 1, &[])?;
    let as_user =
        |user: &str, password: &str| -> anyhow::Result<Vec<String>> { secure(cluster, user, password, &topic) };
    let words = as_user("nobody", "nobody-secret")?;
    let needs = format!("READ on topic '{topic}'");
    refused(&words.iter().map(String::as_str).collect::<Vec<_>>(), 77, &["not authorised", &needs])?;
    let words = as_user("watch", "wrong")?;
    refused(&words.iter().map(String::as_str).collect::<Vec<_>>(), 77, &["refuses our login"])
}

fn secure(cluster: &Cluster, user: &str, password: &str, topic: &str) -> anyhow::Result<Vec<String>> {
    let mut arguments = vec!["--bootstrap".to_owned(), cluster.bootstrap_secure()?.to_owned()];
    for (key, value) in cluster.client_settings(user)? {
        let value = if key == "sasl.password" { password.to_owned() } else { value };
        if key != "bootstrap.servers" {
            arguments.extend(["--property".to_owned(), format!("{key}={value}")]);
        }
    }
    arguments.extend(["--topics".to_owned(), topic.to_owned()]);
    Ok(arguments)
}
