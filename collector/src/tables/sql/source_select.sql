SELECT next, applied_through_ms, applied, noop, fenced, hole, quarantined, log, closed
FROM audit_partition
WHERE cluster = ?1 AND topic = ?2 AND partition = ?3
--pg FOR UPDATE
