//! Random histories on SQLite at their full number: totals, and datacenters that flow together. The collector's own tests live
//! fewer of them, and the suite `postgres` has those of the other database.

use chaperone_tests::figures;

#[path = "../../collector/tests/store/fan_in.rs"]
mod fan_in;
#[path = "../../collector/tests/store/flow.rs"]
mod flow;
#[path = "../../collector/tests/store/model.rs"]
mod model;
#[expect(dead_code, reason = "others use the rest")]
#[path = "../../collector/tests/store/place.rs"]
mod place;
#[expect(dead_code, reason = "others use the rest")]
#[path = "../../collector/tests/store/sim.rs"]
mod sim;
#[path = "../../collector/tests/store/way.rs"]
mod way;

/// Of each kind.
const HISTORIES: u64 = 10_000;

#[test]
fn full_size_random_histories_give_the_models_totals() {
    model::random(HISTORIES);
    figures::record("histories", "totals", HISTORIES).expect("recorded");
}

#[test]
fn full_size_random_datacenters_that_flow_together_have_the_models_rows() {
    let alone = fan_in::random(HISTORIES);
    figures::record("histories", "groups", HISTORIES).expect("recorded");
    figures::record("histories", "groups_control_differs", alone).expect("recorded");
}
