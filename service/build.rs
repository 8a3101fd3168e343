//! The commit that the binary is built from, as `CHAPERONE_COMMIT`; `unknown` outside of a git checkout of our own.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Somebody else's repository around ours (a vendored copy) would give the wrong commit.
    let ours = git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix == "service/");
    let commit = if ours { git(&["rev-parse", "HEAD"]) } else { None };
    println!("cargo:rustc-env=CHAPERONE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    if ours {
        // A commit changes a branch below `refs/heads`, a checkout changes HEAD.
        for name in ["HEAD", "refs/heads", "packed-refs"] {
            let path = git(&["rev-parse", "--git-path", name]);
            for path in path.iter().filter(|path| Path::new(path).exists()) {
                println!("cargo:rerun-if-changed={path}");
            }
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
