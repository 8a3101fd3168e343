INSERT INTO audit_partition
    (cluster, topic, partition, next, applied_through_ms, read, applied, noop, fenced, hole, quarantined)
VALUES (?1, ?2, ?3, 0, ?4, 0, 0, 0, 0, 0, 0)
ON CONFLICT (cluster, topic, partition) DO UPDATE SET applied_through_ms = excluded.applied_through_ms
WHERE audit_partition.applied_through_ms IS NULL OR audit_partition.applied_through_ms < excluded.applied_through_ms
