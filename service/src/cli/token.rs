//! `chaperone token`

use chaperone_web::{Role, token};
use clap::Args;

use super::print;
use crate::exit::{Code, Failure};

/// Makes a token for the page and the API: prints it, once, and the lines that the configuration gets, which hold only its
/// hash.
#[derive(Debug, Args)]
pub struct Token {
    /// Whose it is: the NAME of [web.token.NAME], which the log of actions shows.
    name: String,
    /// What it is good for: viewer, operator or admin.
    #[arg(long, value_parser = role, default_value = "viewer")]
    role: Role,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "allowed are viewer, operator and admin".to_owned())
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        let secret = token::generate().map_err(|e| Failure::new(Code::Software, e))?;
        // A quoted key may be any text, written as JSON writes it.
        let name = serde_json::Value::from(self.name.as_str());
        let (role, hash) = (self.role, token::hash(&secret));
        print(&format!("{secret}\n\n[web.token.{name}]\nrole = \"{role}\"\nhash = \"{hash}\""))
    }
}
