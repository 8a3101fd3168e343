INSERT INTO audit_lost
    (cluster, topic, partition, log, from_offset, to_offset, resumes, from_ms, to_ms, bounded, at_ms, cause)
SELECT cluster, topic, partition, ?4, next, ?5, ?6, applied_through_ms, ?7, 0, ?7, ?8
FROM audit_partition
WHERE cluster = ?1 AND topic = ?2 AND partition = ?3
RETURNING id
