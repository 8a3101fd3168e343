//! The command line: one file a verb.

pub mod check_config;
pub mod collect;
pub mod demo;
pub mod init;
pub mod inspect;
pub mod plan;
pub mod print_config;
pub mod recount;
pub mod recover;
pub mod run;
pub mod schema;
pub mod store;
pub mod tap;
pub mod token;
pub(crate) mod version;
pub mod wal;
pub mod watch;
pub mod web;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chaperone_audit::SystemClock;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::app::{App, Parts, Serves};
use crate::config::{Config, System};
use crate::exit::{Code, Failure};
use crate::reload::Reload;
use crate::telemetry::Format;

/// Exactly-once auditing of Kafka pipelines.
#[derive(Debug, Parser)]
#[command(name = "chaperone", disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Prints the version.
    #[arg(short = 'V', long)]
    version: bool,
    /// With --version: also the commit and the libraries, as one line of JSON.
    #[arg(long, requires = "version")]
    json: bool,
    /// How the log on standard error is written.
    #[arg(long, global = true, value_name = "FORMAT", env = "CHAPERONE_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: Format,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Writes a configuration file to edit.
    Init(init::Init),
    /// Checks a configuration file; with --connect also the clusters, their ACLs, the directory and the port.
    CheckConfig(check_config::CheckConfig),
    /// Prints the configuration in effect, with the defaults filled in.
    PrintConfig(print_config::PrintConfig),
    /// What the configuration file may hold.
    Config(schema::ConfigVerb),
    /// Runs taps, intake, store and dashboard.
    Run(run::Run),
    /// Runs only intake and judge: the store of processes of their own.
    Collect(collect::Collect),
    /// Runs only taps, on the store of a running `chaperone collect` or `chaperone run --no-taps`.
    Tap(tap::Tap),
    /// Serves only the dashboard and the API, over the store of a `chaperone collect` or `run`; writes nothing.
    Web(web::Web),
    /// Makes a token for the page and the API.
    Token(token::Token),
    /// Estimates what auditing topics would cost, from a minute of their offsets and a sample; changes nothing.
    Plan(plan::Plan),
    /// Compares the topics of two Kafka clusters, now: nothing to configure, nothing created, no group joined.
    Watch(watch::Watch),
    /// Looks after the store: its size, its rows as raw numbers, its room.
    Store(store::Store),
    /// Counts offsets in Kafka again and compares with the store.
    Recount(recount::Recount),
    /// Runs everything on this machine without Kafka, with faults that are announced and then seen.
    Demo(demo::Demo),
    #[command(hide = true)]
    DemoStage(demo::DemoStage),
    /// The write-ahead log of a linked process.
    Wal(wal::Wal),
    /// Tells what dead processes counted and had not reported yet; sends it; or is a host's agent (--watch).
    Recover(recover::Recover),
    /// Answers what chaperone makes of a line of JSON, with the functions that it runs on.
    Inspect(inspect::Inspect),
}

/// An answer on standard output. A reader that has gone away is a failure, not a panic.
fn print(text: &str) -> Result<(), Failure> {
    let written = writeln!(std::io::stdout(), "{text}");
    written.map_err(|e| Failure::new(Code::Unavailable, format!("cannot write to standard output: {e}")))
}

/// A word on standard output. Nobody may be reading any more; the process is wanted all the same.
pub(crate) fn say(text: &str) {
    if let Err(e) = writeln!(std::io::stdout(), "{text}") {
        tracing::debug!("standard output: {e}");
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "CHAPERONE_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    /// Reads it, and again at each SIGHUP; `accept` says what the verb cannot do without. Needs a runtime.
    fn watched(&self, accept: impl Fn(&Config) -> Result<(), Failure> + Send + 'static) -> Result<Reload, Failure> {
        Reload::new(&self.config, Arc::new(SystemClock), accept)
    }
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(Path::new(&self.config), &System)?)
    }
    /// Runs these parts until a signal ends them.
    fn serve(
        &self,
        parts: Parts,
        accept: impl Fn(&Config) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        block_on(async move {
            let reload = self.watched(accept)?;
            let serves = parts.serves;
            let app = App::build(reload.config().clone(), Arc::new(SystemClock), parts).await?;
            if serves != Serves::Nothing {
                say(&format!("chaperone {} listening on {}", env!("CARGO_PKG_VERSION"), app.url()));
            }
            app.run_reloading(stop_signal()?, reload).await
        })
    }
}

/// Where a process without pages answers.
#[derive(Debug, Args)]
struct Health {
    /// Serves /healthz, /readyz and /metrics here, to whoever reaches the address: figures, names of clusters and topics,
    /// what is wrong. Default: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

impl Health {
    fn serves(&self) -> Serves {
        self.listen.map_or(Serves::Nothing, Serves::Health)
    }
}

impl Cli {
    /// Reads the command line. `Ok(None)`: help or version was asked for and printed.
    ///
    /// # Errors
    /// [`Code::Usage`] with what is wrong and what is allowed.
    pub fn read() -> Result<Option<Self>, Failure> {
        match Self::try_parse() {
            Ok(cli) => Ok(Some(cli)),
            Err(e) if e.use_stderr() => {
                let text = e.render().to_string();
                Err(Failure::new(Code::Usage, text.trim_start_matches("error: ").trim_end()))
            }
            Err(e) => {
                e.print()
                    .map_err(|io| Failure::new(Code::Unavailable, format!("cannot write to standard output: {io}")))?;
                Ok(None)
            }
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// With the code to end with.
    pub fn run(self) -> Result<(), Failure> {
        let Some(verb) = self.verb else {
            if self.version {
                return print(&if self.json { version::json() } else { version::plain() });
            }
            let command = Self::command();
            let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            let verbs = verbs.join(", ");
            return Err(Failure::new(
                Code::Usage,
                format!("what to do? One of: {verbs}; `chaperone --help` explains them"),
            ));
        };
        match verb {
            Verb::Init(init) => init.run(),
            Verb::CheckConfig(check) => check.run(),
            Verb::PrintConfig(print) => print.run(),
            Verb::Config(config) => config.run(),
            Verb::Run(run) => run.run(),
            Verb::Collect(collect) => collect.run(),
            Verb::Tap(tap) => tap.run(),
            Verb::Web(web) => web.run(),
            Verb::Token(token) => token.run(),
            Verb::Plan(plan) => plan.run(),
            Verb::Watch(watch) => watch.run(),
            Verb::Store(store) => store.run(),
            Verb::Recount(recount) => recount.run(),
            Verb::Demo(demo) => demo.run(),
            Verb::DemoStage(stage) => stage.run(),
            Verb::Wal(wal) => wal.run(),
            Verb::Recover(recover) => recover.run(),
            Verb::Inspect(inspect) => inspect.run(),
        }
    }
}

/// Runs a future on a runtime of its own. Threads that are left behind do not hold up the end.
fn block_on(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| run::runtime(&e))?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Ends with the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| run::runtime(&e))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| run::runtime(&e))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
