-- Held until the end of the transaction: who moves it compares first.
SELECT partition, log, next, topic_id, closed, applied_through_ms
FROM audit_partition
WHERE cluster = ?1 AND topic = ?2 AND partition = ?3
--pg FOR UPDATE
