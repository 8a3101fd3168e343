//! Who the server is must be proven: its certificate by whom the configuration trusts, for the name that it is reached by. And
//! we must be let in. What is refused says why and what to do.

use std::time::Duration;

use anyhow::ensure;
use chaperone_tests::programs;

use super::Place;

/// `EX_UNAVAILABLE`.
const UNAVAILABLE: i32 = 69;

#[test]
fn a_server_that_cannot_be_trusted_or_does_not_trust_us_is_refused_with_the_reason() -> anyhow::Result<()> {
    let (place, other) = (Place::new("trust")?, chaperone_tests::postgres::Server::own("other-authority")?);
    let own_password = chaperone_tests::postgres::PASSWORD;
    let ca = |server: &chaperone_tests::postgres::Server| format!("ca_file = {:?}\n", server.ca().to_string_lossy());
    let ours = ca(&place.server);
    let names = ["certificate verify failed", "store.ca_file", "must name the host"];
    let table: [(&str, String, &str, &[&str]); 5] = [
        ("localhost", ca(&other), own_password, &names),
        ("localhost", String::new(), own_password, &names),
        // The certificate is for another address.
        ("127.0.0.2", ours.clone(), own_password, &names),
        ("localhost", ours.clone(), "another", &["password authentication failed", "store.password", "pg_hba.conf"]),
        ("localhost", "tls = \"off\"\n".to_owned(), own_password, &["pg_hba.conf"]),
    ];
    for (host, tls, password, words) in &table {
        let config = place.write_with(host, tls, password)?;
        for verb in [&["check-config", "--connect"][..], &["collect"]] {
            let mut program = programs::chaperone(verb, &config)?;
            let status = program.process.wait(Duration::from_secs(60))?;
            let said = program.whole_output()?;
            ensure!(status.code() == Some(UNAVAILABLE), "{verb:?} {host} {tls}: {status}: {said}");
            ensure!(words.iter().all(|word| said.contains(word)), "{verb:?} {host} {tls}: {words:?} in {said}");
            ensure!(!said.contains(own_password), "the password is in what it says: {said}");
        }
    }
    // The controls: by whom and for whom it is right, and where nobody asked.
    for (host, tls) in [("localhost", &ours), ("127.0.0.1", &ours), ("127.0.0.2", &"tls = \"encrypt\"\n".to_owned())] {
        let config = place.write_with(host, tls, own_password)?;
        let mut program = programs::chaperone(&["check-config", "--connect"], &config)?;
        let status = program.process.wait(Duration::from_secs(60))?;
        let said = program.whole_output()?;
        ensure!(status.success() && said.contains("the first `collect` or `run` makes the store"), "{status}: {said}");
    }
    Ok(())
}
