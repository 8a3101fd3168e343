-- What is new here belongs to the topic that is followed; so does what was read before its id was known.
INSERT INTO audit_partition
    (cluster, topic, partition, topic_id, next, read, applied, noop, fenced, hole, quarantined)
VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, 0, 0, 0)
ON CONFLICT (cluster, topic, partition) DO UPDATE SET topic_id = excluded.topic_id
WHERE audit_partition.topic_id IS NULL AND audit_partition.closed = 0
