INSERT INTO tap_partition
    (stage, topic, partition, log, epoch, next, claim_from, tap, claimed_ms, audited_since_ms, anchor, last_min_ms,
     counted, watermark_ms, frontier_ms, held_since_ms, position, topic_id)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
ON CONFLICT (stage, topic, partition) DO NOTHING
