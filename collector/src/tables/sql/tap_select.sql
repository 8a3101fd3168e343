SELECT log, epoch, next, claim_from, tap, claimed_ms, audited_since_ms, anchor, last_min_ms, counted, watermark_ms,
       frontier_ms, held_since_ms, position, topic_id
FROM tap_partition
WHERE stage = ?1 AND topic = ?2 AND partition = ?3
--pg FOR UPDATE
