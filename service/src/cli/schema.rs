//! `chaperone config schema`

use clap::{Args, Subcommand};

use super::print;
use crate::config;
use crate::exit::{Code, Failure};

/// What the configuration file may hold.
#[derive(Debug, Args)]
pub struct ConfigVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Prints the JSON Schema of the configuration file, for editors and checks.
    Schema,
}

impl ConfigVerb {
    pub(super) fn run(self) -> Result<(), Failure> {
        let What::Schema = self.what;
        let text = serde_json::to_string_pretty(&config::schema::schema())
            .map_err(|e| Failure::new(Code::Software, format!("cannot write the schema: {e}")))?;
        print(&text)
    }
}
