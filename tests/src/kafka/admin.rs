//! The long-lived helper JVM (`tests/kafka/Admin.java`): one for a test process, started at first use.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jars::Jars;
use super::node;
use crate::paths;
use crate::process::{self, Guarded};

/// One access rule for one user, on any host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Acl {
    /// The SCRAM user.
    pub user: String,
    /// `topic`, `group`, `cluster` or `transactional_id`.
    pub resource: String,
    /// The resource's name (`kafka-cluster` for the cluster), or its prefix.
    pub name: String,
    /// `literal` or `prefixed`.
    pub pattern: String,
    /// `read`, `write`, `describe`, `create`, `describe_configs`, `idempotent_write`, …
    pub operation: String,
    /// `allow` or `deny`.
    pub permission: String,
}

impl Acl {
    /// Allows `user` an operation on one resource: `Acl::allow("producer", "write", "topic", "orders")`.
    pub fn allow(user: &str, operation: &str, resource: &str, name: &str) -> Acl {
        Acl {
            user: user.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            pattern: "literal".to_owned(),
            operation: operation.to_owned(),
            permission: "allow".to_owned(),
        }
    }

    /// The same for every resource whose name begins with the name.
    #[must_use]
    pub fn prefixed(mut self) -> Acl {
        "prefixed".clone_into(&mut self.pattern);
        self
    }

    /// The same as a prohibition.
    #[must_use]
    pub fn deny(mut self) -> Acl {
        "deny".clone_into(&mut self.permission);
        self
    }
}

struct Helper {
    _process: Guarded,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

static HELPER: Mutex<Option<Helper>> = Mutex::new(None);

/// Asks the helper to do `op` with `arguments` (an object) on the cluster behind `bootstrap`.
pub(super) fn ask(bootstrap: &str, op: &str, mut arguments: Value) -> anyhow::Result<Value> {
    arguments["op"] = json!(op);
    arguments["bootstrap"] = json!(bootstrap);
    let mut guard = HELPER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut helper = match guard.take() {
        Some(helper) => helper,
        None => start()?,
    };
    // A helper that failed to answer is not put back: the next question starts another.
    let mut answer = exchange(&mut helper, &arguments).context("the admin helper failed")?;
    *guard = Some(helper);
    if let Some(error) = answer.get("error") {
        anyhow::bail!("{op}: {}", error.as_str().unwrap_or("no reason given"));
    }
    Ok(answer["ok"].take())
}

fn exchange(helper: &mut Helper, request: &Value) -> anyhow::Result<Value> {
    writeln!(helper.input, "{request}")?;
    helper.input.flush()?;
    let mut line = String::new();
    anyhow::ensure!(helper.output.read_line(&mut line)? > 0, "it has ended");
    Ok(serde_json::from_str(&line)?)
}

fn start() -> anyhow::Result<Helper> {
    let jars = Jars::installed()?;
    let log = paths::scratch("admin")?.join("admin.log");
    let mut java = node::java("128m", &jars.class_path(), "Admin");
    java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(log)?);
    let mut process = process::spawn(java)?;
    let child = process.child();
    let input = child.stdin.take().context("no standard input")?;
    let output = BufReader::new(child.stdout.take().context("no standard output")?);
    Ok(Helper { _process: process, input, output })
}
