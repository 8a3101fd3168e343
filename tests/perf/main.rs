//! The benches beside rivals, each for its section of docs/PERFORMANCE.md (`tests/run --performance` writes it).

use chaperone_tests::performance::{BENCHES, run};

#[test]
fn benches() -> anyhow::Result<()> {
    BENCHES.iter().try_for_each(run)
}
