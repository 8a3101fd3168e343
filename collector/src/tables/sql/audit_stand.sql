-- Held until the end of the transaction: who moves it compares first.
SELECT partition, log, next, topic_id, closed
FROM audit_partition
WHERE cluster = ?1 AND topic = ?2 AND partition = ?3
--pg FOR UPDATE
