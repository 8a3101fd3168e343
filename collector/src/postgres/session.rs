//! One connection: how it is made, and one transaction on it.
//!
//! Invariant: after a fault the transaction is rolled back, or the connection is over; either way nothing of it stays. An
//! answer to COMMIT that was lost is a fault like any other: whoever runs the same work again finds it done.

use std::time::Duration;

use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use tokio::runtime::Runtime;
use tokio_postgres::{Config, NoTls};
use uuid::Uuid;

use super::pool::For;
use super::refusal::{Refusal, Remedy};
use super::tx::{ANSWER, Line, PgTx};
use super::{Settings, Tls};
use crate::db::{self, Db, Done, Fault, Names, Tx, schema};
use crate::patience::Patience;

mod migrations {
    refinery::embed_migrations!("src/postgres/schema");
}

/// The newest schema in `schema/`.
pub(super) const SCHEMA: i64 = 1;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Who holds rows and says nothing is given up by the server after this.
const SET: &str = "SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '20s'";
/// Who reads cannot write, and what we would not wait for ([`ANSWER`]) is not worked on, whether or not a question has a
/// deadline of its own.
const SET_READING: &str = "SET default_transaction_read_only = on; SET statement_timeout = '55s'";
/// Said in full: a pooler may hand a writer the server's end of a reader's connection, with what was set on it.
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Where systems keep the certificates that they trust.
const TRUSTED: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];
/// Rows of `meta`.
const SHARDS: u64 = 16;
/// Attempts to make the schema, should several processes make it at once.
const ATTEMPTS: u32 = 10;

/// A connection.
pub(super) struct Session {
    /// `None` only while it is dropped.
    line: Option<Line>,
    what: For,
    names: Names,
    /// Nothing more can be said over it.
    over: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        // A runtime must not be waited for where others run.
        if let Some(Line { runtime, .. }) = self.line.take() {
            runtime.shutdown_background();
        }
    }
}

fn connector(tls: &Tls) -> Result<Option<MakeTlsConnector>, Refusal> {
    let Tls::On { verify, ca_file, identity } = tls else { return Ok(None) };
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    match ca_file {
        Some(path) => builder.set_ca_file(path)?,
        None => {
            for path in TRUSTED.iter().filter(|path| std::path::Path::new(path).exists()) {
                builder.set_ca_file(path)?;
            }
        }
    }
    if let Some((certificate, key)) = identity {
        builder.set_certificate_chain_file(certificate)?;
        builder.set_private_key_file(key, SslFiletype::PEM)?;
    }
    if !verify {
        builder.set_verify(SslVerifyMode::NONE);
    }
    let verify = *verify;
    let mut connector = MakeTlsConnector::new(builder.build());
    connector.set_callback(move |connection, _| {
        connection.set_verify_hostname(verify);
        Ok(())
    });
    Ok(Some(connector))
}

impl Session {
    /// Connects. `durable`: what is written survives power loss.
    pub(super) fn connect(settings: &Settings, what: For, durable: bool) -> Result<Self, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut config: Config = settings.config.clone();
        if config.get_application_name().is_none() {
            config.application_name("chaperone");
        }
        config.connect_timeout(CONNECT).keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(ANSWER);
        let tls = connector(&settings.tls).map_err(Fault::Postgres)?;
        let client = reach(&runtime, &config, tls);
        let client = match client {
            Ok(client) => client,
            Err(refusal) => {
                runtime.shutdown_background();
                return Err(Fault::Postgres(refusal));
            }
        };
        let session = Self { line: Some(Line::new(runtime, client)), what, names: Names::default(), over: false };
        session.say(&match what {
            For::Reading => format!("{SET}; {SET_READING}"),
            For::Writing if durable => SET.to_owned(),
            For::Writing => format!("{SET}; SET synchronous_commit = off"),
        })?;
        Ok(session)
    }

    /// What it was made for.
    pub(super) fn what(&self) -> For {
        self.what
    }

    fn line(&self) -> Done<&Line> {
        self.line.as_ref().ok_or_else(|| Fault::stored("connection")("it is closed"))
    }

    fn say(&self, sql: &str) -> Done<()> {
        Ok(self.line()?.say(sql)?)
    }

    /// Brings the schema up to date.
    pub(super) fn migrate(&mut self) -> Done<()> {
        let mut attempt = 1;
        loop {
            // Looked at each time: others may have been quicker.
            if self.is_made()? && !schema::is_due(&PgTx(self.line()?), SCHEMA)? {
                return Ok(());
            }
            let Some(line) = self.line.as_mut() else { return Ok(()) };
            // As for [`WRITE`]; here transactions are another's.
            line.say("SET default_transaction_read_only = off")?;
            let run = migrations::migrations::runner();
            let ran = line.runtime.block_on(async { run.run_async(&mut line.client).await });
            match ran {
                Ok(_) => return Ok(()),
                Err(e) if line.say("ROLLBACK").is_err() => {
                    self.over = true;
                    return Err(Fault::Postgres(Refusal::Ended(e.to_string())));
                }
                // Of two who make the schema one fails; the next attempt finds the other's work done.
                Err(e) if attempt < ATTEMPTS && is_contention(&e) => {
                    std::thread::sleep(Duration::from_millis(50) * attempt);
                }
                Err(e) => return Err(e.into()),
            }
            attempt += 1;
        }
    }

    /// Whether a store can be read by this build.
    pub(super) fn usable(&self) -> Done<()> {
        if self.is_made()? { schema::readable(&PgTx(self.line()?), SCHEMA) } else { Err(Fault::NotMade) }
    }

    /// Whether anybody has made the schema.
    fn is_made(&self) -> Done<bool> {
        let made = "SELECT 1 FROM information_schema.tables
                    WHERE table_name = 'refinery_schema_history' AND table_schema = ANY (current_schemas(false))";
        let tx: &dyn Tx = &PgTx(self.line()?);
        Ok(tx.exists(made, &[])? && tx.exists("SELECT 1 FROM refinery_schema_history", &[])?)
    }

    /// Runs `work` in one transaction that writes; also the revision, if it changed.
    pub(super) fn write<T>(&mut self, work: &dyn Fn(&mut Db<'_>) -> Done<T>) -> Done<(T, Option<u64>)> {
        let mark = random();
        let shard = i64::try_from(mark.cast_unsigned() % SHARDS).unwrap_or(0) + 1;
        let mut names = std::mem::take(&mut self.names);
        let outcome = self.within(WRITE, &Patience::default(), |tx| {
            let mut db = Db::new(tx, &mut names, mark);
            let value = work(&mut db)?;
            db.finish(shard)?;
            Ok((value, db.bumped()))
        });
        if outcome.is_err() {
            names.forget();
        }
        self.names = names;
        outcome
    }

    /// Runs `work` on one moment of the store, for as long as somebody waits. A statement that is under way is ended at the
    /// deadline, by the server.
    pub(super) fn read<T>(&mut self, patience: &Patience, work: &dyn Fn(&dyn Tx) -> Done<T>) -> Done<T> {
        let Some(left) = patience.left() else { return self.within(READ, patience, work) };
        let most = left.as_millis().max(1);
        let begin = format!("{READ}; SET LOCAL statement_timeout = {most}");
        self.within(&begin, patience, work).map_err(|fault| match fault {
            Fault::Postgres(refusal) if refusal.is_cut() => Fault::TooLong,
            other => other,
        })
    }

    fn within<T>(&mut self, begin: &str, patience: &Patience, work: impl FnOnce(&dyn Tx) -> Done<T>) -> Done<T> {
        let outcome = self.line().and_then(|line| {
            line.while_waited(patience, || {
                line.say(begin)?;
                let value = work(&PgTx(line))?;
                line.say("COMMIT")?;
                Ok(value)
            })
        });
        if let Err(fault) = &outcome {
            self.over = remedy(fault) == Remedy::Reconnect || self.say("ROLLBACK").is_err();
        }
        outcome
    }

    /// Nothing more can be said over it.
    pub(super) fn is_over(&self) -> bool {
        self.over || self.line.as_ref().is_none_or(|line| line.client.is_closed())
    }

    /// The store's revision.
    pub(super) fn revision(&mut self) -> Done<u64> {
        let outcome = self.line().and_then(|line| db::revision(&PgTx(line)));
        self.over |= outcome.is_err();
        outcome
    }
}

fn reach(runtime: &Runtime, config: &Config, tls: Option<MakeTlsConnector>) -> Result<tokio_postgres::Client, Refusal> {
    let reached = async {
        // Driven whenever an answer is waited for; its end is told by the client.
        if let Some(tls) = tls {
            let (client, connection) = config.connect(tls).await?;
            drop(tokio::spawn(connection));
            return Ok(client);
        }
        let (client, connection) = config.connect(NoTls).await?;
        drop(tokio::spawn(connection));
        Ok(client)
    };
    let timed = runtime.block_on(async { tokio::time::timeout(CONNECT * 2, reached).await });
    timed.map_err(|_| Refusal::Silent(CONNECT * 2))?.map_err(Refusal::Said)
}

/// What can be done about a fault.
pub(super) fn remedy(fault: &Fault) -> Remedy {
    match fault {
        Fault::Postgres(refusal) => refusal.remedy(),
        _ => Remedy::None,
    }
}

fn is_contention(e: &refinery::Error) -> bool {
    let text = format!("{e:?}");
    ["23505", "42P07", "UniqueViolation", "DuplicateTable", "DuplicateObject", "already exists"]
        .iter()
        .any(|code| text.contains(code))
}

/// Below 2^62, of the random part of a new UUID.
fn random() -> i64 {
    i64::try_from(Uuid::now_v7().as_u128() & ((1 << 62) - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::db::schema::rule_of;

    #[test]
    fn the_newest_schema_is_the_one_that_readers_expect_and_each_only_adds() {
        let runner = super::migrations::migrations::runner();
        let newest = runner.get_migrations().iter().map(refinery::Migration::version).max();
        assert_eq!(newest.map(i64::from), Some(super::SCHEMA));
        for m in runner.get_migrations() {
            assert_eq!(rule_of(m.version().into(), m.name(), m.sql().unwrap_or_default()), Ok(()));
        }
    }
}
