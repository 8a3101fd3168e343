//! Asking what groups have committed, of brokers that do not know it yet.

mod common;

use chaperone::kafka::client::Client;
use chaperone::problems::Problems;
use common::{cluster, config};
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr;

/// A coordinator that moves, or loads what it has just been given: librdkafka asks again, on behalf of a client's own group.
/// Without one the process ended by a segmentation fault.
#[test]
fn a_coordinator_that_moves_is_an_error_and_not_the_end() {
    let kafka = cluster(1);
    let moves = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    ];
    let config = config(&kafka.bootstrap_servers(), "g", "end");
    let (problems, _) = Problems::new();
    let client = Client::new(config.clusters.first().expect("a cluster"), &problems).expect("a client");
    let names = ["billing".to_owned()];
    for error in moves {
        kafka.request_errors(RDKafkaApiKey::OffsetFetch, &[error; 8]);
        let refused = client.committed(&names);
        assert!(refused.len() == 1 && refused[0].is_err(), "{error:?}: {refused:?}");
        kafka.clear_request_errors(RDKafkaApiKey::OffsetFetch);
        let answered = client.committed(&names);
        assert!(answered[0].as_ref().is_ok_and(std::collections::BTreeMap::is_empty), "{error:?}: {answered:?}");
    }
}
