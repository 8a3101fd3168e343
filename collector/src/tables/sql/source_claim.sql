INSERT INTO audit_partition (cluster, topic, partition, next, read, applied, noop, fenced, hole, quarantined)
VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0)
ON CONFLICT (cluster, topic, partition) DO NOTHING
