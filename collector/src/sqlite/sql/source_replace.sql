INSERT OR REPLACE INTO audit_partition
    (cluster, topic, partition, next, applied_through_ms, read, applied, noop, fenced, hole, quarantined)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
