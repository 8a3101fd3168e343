SELECT partition, log, next, topic_id, closed, applied_through_ms
FROM audit_partition
WHERE cluster = ?1 AND topic = ?2
ORDER BY partition
