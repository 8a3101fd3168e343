//! `chaperone init`

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::print;
use crate::config::example::example;
use crate::exit::{Code, Failure};

/// Writes a configuration file to edit: every key with its description, and a seed of its own.
#[derive(Debug, Args)]
pub struct Init {
    /// The file to write, readable by its owner only; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "chaperone.toml")]
    output: PathBuf,
    /// Overwrites the file if it is there. Its seed is lost: keep it if reporters or taps have used it.
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let text = example(rand::random());
        if self.output == Path::new("-") {
            return print(text.trim_end());
        }
        let path = self.output.display();
        self.write(&text).map_err(|e| {
            let why = match e.kind() {
                io::ErrorKind::AlreadyExists => "it is there already; --force overwrites it".to_owned(),
                _ => e.to_string(),
            };
            Failure::new(Code::CannotWrite, format!("cannot write {path}: {why}"))
        })?;
        print(&format!("{path} is written. Edit it, then: chaperone check-config --config {path} --connect"))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        // The seed is in it, and passwords may come to be.
        options.write(true).mode(0o600).create_new(!self.force).create(true).truncate(true);
        let mut file = options.open(&self.output)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}
