//! Sessions that read cannot write, and nothing is worked on for them without end.

use std::time::Duration;

use chaperone_collector::within;

use crate::place::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_read_are_told_so_and_have_their_askers_deadline() {
    let place = Place::new();
    let store = place.open();
    place.rows(
        "DROP VIEW v_topic;
         CREATE VIEW v_topic AS
         SELECT current_setting('default_transaction_read_only') || ' ' || current_setting('statement_timeout') AS topic,
                CAST(0 AS BIGINT) AS complete_through_ms",
    );
    let told = async || store.complete_through().await.expect("answers").remove(0).0;
    assert_eq!(told().await, "on 55s");
    let hurried = within(Duration::from_millis(7_777), told()).await;
    let ms: u64 =
        hurried.strip_prefix("on ").and_then(|t| t.strip_suffix("ms")).expect("ms").parse().expect("a number");
    assert!(ms <= 7_777, "{hurried}");
    assert_eq!(told().await, "on 55s", "it was that question's alone");
}
