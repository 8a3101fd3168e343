SELECT partition, log, next, topic_id, closed
FROM audit_partition
WHERE cluster = ?1 AND topic = ?2
ORDER BY partition
