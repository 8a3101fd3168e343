//! Random histories at their full number: totals, and datacenters that flow together.

use chaperone_tests::figures;

const HISTORIES: u64 = 10_000;
/// Of datacenters: each takes several times as long, and the suite `histories` lives ten times as many on SQLite.
const OF_GROUPS: u64 = 1_000;

#[test]
fn full_size_random_histories_give_the_models_totals() {
    crate::model::random(HISTORIES);
    figures::record("postgres_full", "histories", HISTORIES).expect("recorded");
}

#[test]
fn full_size_random_datacenters_that_flow_together_have_the_models_rows() {
    let alone = crate::fan_in::random(OF_GROUPS);
    figures::record("postgres_full", "group_histories", OF_GROUPS).expect("recorded");
    figures::record("postgres_full", "group_control_differs", alone).expect("recorded");
}
