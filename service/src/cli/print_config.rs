//! `chaperone print-config`

use clap::Args;

use super::{ConfigFile, print};
use crate::config::{Lookup, Secrets, System, effective};
use crate::exit::{Code, Failure};

/// Prints the configuration in effect: the file with the defaults filled in, as TOML.
#[derive(Debug, Args)]
pub struct PrintConfig {
    #[command(flatten)]
    config: ConfigFile,
    /// Shows secrets as "…": the seed, and properties whose names have password, secret, key, token, jaas, pem and the
    /// like in them. This is the default.
    #[arg(long, conflicts_with = "show_secrets")]
    redacted: bool,
    /// Shows secrets, and what references (`@file:`, `${NAME}`) refer to. The output is a configuration file.
    #[arg(long)]
    show_secrets: bool,
}

impl PrintConfig {
    pub(super) fn run(self) -> Result<(), Failure> {
        // Mistakes are told with the file's name.
        self.config.load()?;
        let path = &self.config.config;
        let unreadable = |e| Failure::new(Code::Configuration, format!("cannot read {}: {e}", path.display()));
        let text = System.file(path).map_err(unreadable)?;
        let secrets = if self.show_secrets { Secrets::Shown } else { Secrets::Hidden };
        print(effective(&text, &System, secrets)?.trim_end())
    }
}
