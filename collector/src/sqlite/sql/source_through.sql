INSERT INTO audit_partition
    (cluster, topic, partition, next, applied_through_ms, read, applied, noop, fenced, hole, quarantined)
VALUES (?1, ?2, ?3, 0, ?4, 0, 0, 0, 0, 0, 0)
ON CONFLICT DO UPDATE
SET applied_through_ms = max(coalesce(audit_partition.applied_through_ms, excluded.applied_through_ms),
                             excluded.applied_through_ms)
