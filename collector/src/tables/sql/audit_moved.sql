UPDATE audit_partition
SET log = ?4, next = ?5, topic_id = coalesce(?6, topic_id), closed = ?7
WHERE cluster = ?1 AND topic = ?2 AND partition = ?3
