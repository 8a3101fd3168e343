UPDATE tap_partition
SET topic_id = coalesce(topic_id, ?8),
    claimed_ms = CASE WHEN epoch <= ?5 THEN ?6 ELSE claimed_ms END,
    audited_since_ms = CASE WHEN audited_since_ms > ?7 THEN ?7 ELSE audited_since_ms END,
    epoch = CASE WHEN epoch < ?5 THEN ?5 ELSE epoch END
WHERE stage = ?1 AND topic = ?2 AND partition = ?3 AND log = ?4
