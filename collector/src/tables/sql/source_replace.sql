INSERT INTO audit_partition
    (cluster, topic, partition, next, applied_through_ms, read, applied, noop, fenced, hole, quarantined)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT (cluster, topic, partition) DO UPDATE
SET next = excluded.next, applied_through_ms = excluded.applied_through_ms, read = excluded.read,
    applied = excluded.applied, noop = excluded.noop, fenced = excluded.fenced, hole = excluded.hole,
    quarantined = excluded.quarantined
