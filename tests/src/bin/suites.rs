//! `tests/run`: runs the suites and checks the promises.

use std::process::ExitCode;

fn main() -> ExitCode {
    chaperone_tests::runner::main()
}
