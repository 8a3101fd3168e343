INSERT INTO tap_partition
    (stage, topic, partition, log, epoch, next, claim_from, tap, claimed_ms, audited_since_ms, anchor, last_min_ms,
     counted, watermark_ms, frontier_ms, held_since_ms, position, topic_id)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
ON CONFLICT (stage, topic, partition) DO UPDATE
SET log = excluded.log, epoch = excluded.epoch, next = excluded.next, claim_from = excluded.claim_from,
    tap = excluded.tap, claimed_ms = excluded.claimed_ms, audited_since_ms = excluded.audited_since_ms,
    anchor = excluded.anchor, last_min_ms = excluded.last_min_ms, counted = excluded.counted,
    watermark_ms = excluded.watermark_ms, frontier_ms = excluded.frontier_ms,
    held_since_ms = excluded.held_since_ms, position = excluded.position, topic_id = excluded.topic_id
