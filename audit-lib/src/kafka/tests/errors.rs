//! Every error code that rdkafka knows, with what a delivery report of it proves. Reviewed against librdkafka 2.12.1
//! (`rd_kafka_err_action`, `rd_kafka_handle_Produce_error`, the callers of `rd_kafka_dr_msgq`).

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::kafka::proves_not_persisted;

macro_rules! codes {
    ($($code:ident)*) => {
        &[$(Code::$code),*]
    };
}

/// As many as rdkafka 0.39 has.
const CODES: usize = 173;

const PROOF: &[Code] = codes! {
    UnknownPartition UnknownTopic QueueFull KeySerialization ValueSerialization InvalidDifferentRecord
    UnknownTopicOrPartition InvalidMessageSize MessageSizeTooLarge InvalidTopic MessageBatchTooLarge
    InvalidRequiredAcks TopicAuthorizationFailed ClusterAuthorizationFailed InvalidTimestamp PolicyViolation
    UnsupportedCompressionType InvalidRecord
};

/// All others: a code that rdkafka learns later belongs to them until somebody has looked up what it means.
const DOUBT: &[Code] = codes! {
    Begin BadMessage BadCompression BrokerDestroy Fail BrokerTransportFailure CriticalSystemResource Resolve
    MessageTimedOut PartitionEOF FileSystem AllBrokersDown InvalidArgument OperationTimedOut ISRInsufficient
    NodeUpdate SSL WaitingForCoordinator UnknownGroup InProgress PreviousInProgress ExistingSubscription
    AssignPartitions RevokePartitions Conflict State UnknownProtocol NotImplemented Authentication NoOffset
    Outdated TimedOutQueue UnsupportedFeature WaitCache Interrupted KeyDeserialization ValueDeserialization
    Partial ReadOnly NoEnt Underflow InvalidType Retry PurgeQueue PurgeInflight Fatal Inconsistent GaplessGuarantee
    PollExceeded UnknownBroker NotConfigured Fenced Application AssignmentLost Noop AutoOffsetReset LogTruncation
    DestroyBroker End Unknown NoError OffsetOutOfRange InvalidMessage LeaderNotAvailable NotLeaderForPartition
    RequestTimedOut BrokerNotAvailable ReplicaNotAvailable StaleControllerEpoch OffsetMetadataTooLarge
    NetworkException CoordinatorLoadInProgress CoordinatorNotAvailable NotCoordinator NotEnoughReplicas
    NotEnoughReplicasAfterAppend IllegalGeneration InconsistentGroupProtocol InvalidGroupId UnknownMemberId
    InvalidSessionTimeout RebalanceInProgress InvalidCommitOffsetSize GroupAuthorizationFailed
    UnsupportedSASLMechanism IllegalSASLState UnsupportedVersion TopicAlreadyExists InvalidPartitions
    InvalidReplicationFactor InvalidReplicaAssignment InvalidConfig NotController InvalidRequest
    UnsupportedForMessageFormat OutOfOrderSequenceNumber DuplicateSequenceNumber InvalidProducerEpoch
    InvalidTransactionalState InvalidProducerIdMapping InvalidTransactionTimeout ConcurrentTransactions
    TransactionCoordinatorFenced TransactionalIdAuthorizationFailed SecurityDisabled OperationNotAttempted
    KafkaStorageError LogDirNotFound SaslAuthenticationFailed UnknownProducerId ReassignmentInProgress
    DelegationTokenAuthDisabled DelegationTokenNotFound DelegationTokenOwnerMismatch
    DelegationTokenRequestNotAllowed DelegationTokenAuthorizationFailed DelegationTokenExpired
    InvalidPrincipalType NonEmptyGroup GroupIdNotFound FetchSessionIdNotFound InvalidFetchSessionEpoch
    ListenerNotFound TopicDeletionDisabled FencedLeaderEpoch UnknownLeaderEpoch StaleBrokerEpoch
    OffsetNotAvailable MemberIdRequired PreferredLeaderNotAvailable GroupMaxSizeReached FencedInstanceId
    EligibleLeadersNotAvailable ElectionNotNeeded NoReassignmentInProgress GroupSubscribedToTopic
    UnstableOffsetCommit ThrottlingQuotaExceeded ProducerFenced ResourceNotFound DuplicateResource
    UnacceptableCredential InconsistentVoterSet InvalidUpdateVersion FeatureUpdateFailed
    PrincipalDeserializationFailure UnknownTopicId FencedMemberEpoch UnreleasedInstanceId UnsupportedAssignor
    StaleMemberEpoch UnknownSubscriptionId TelemetryTooLarge RebootstrapRequired EndAll
};

/// What librdkafka itself marks "possibly persisted" or raises after a message may have been appended.
const POSSIBLY_PERSISTED: &[Code] = &[
    Code::BrokerTransportFailure,
    Code::SSL,
    Code::OperationTimedOut,
    Code::RequestTimedOut,
    Code::NotEnoughReplicasAfterAppend,
    Code::MessageTimedOut,
    Code::OutOfOrderSequenceNumber,
    Code::DuplicateSequenceNumber,
    Code::UnknownProducerId,
    Code::PurgeQueue,
    Code::PurgeInflight,
    Code::BadMessage,
    Code::Fatal,
    Code::Fenced,
    Code::GaplessGuarantee,
    Code::Inconsistent,
];

#[test]
fn only_errors_that_prove_are_proof() {
    let of = |code: &Code| proves_not_persisted(&KafkaError::MessageProduction(*code));
    let wrong: Vec<_> = PROOF.iter().filter(|c| !of(c)).chain(DOUBT.iter().filter(|c| of(c))).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let believed: Vec<_> = POSSIBLY_PERSISTED.iter().filter(|code| PROOF.contains(code)).collect();
    assert!(believed.is_empty(), "{believed:?}");
    assert!(!proves_not_persisted(&KafkaError::Canceled));
    assert_eq!(PROOF.len() + DOUBT.len(), CODES, "rdkafka's codes");
}
