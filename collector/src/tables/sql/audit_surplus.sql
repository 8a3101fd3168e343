-- Partitions that the topic does not have: they were another topic's of that name.
SELECT partition, log, next, topic_id, closed, applied_through_ms
FROM audit_partition
WHERE cluster = ?1 AND topic = ?2 AND partition >= ?3 AND closed = 0
  AND (CAST(?4 AS BLOB) IS NULL OR topic_id IS DISTINCT FROM ?4) --lite
--pg AND (CAST(?4 AS BYTEA) IS NULL OR topic_id IS DISTINCT FROM ?4)
--pg ORDER BY partition
--pg FOR UPDATE
