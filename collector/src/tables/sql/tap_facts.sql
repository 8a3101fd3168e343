SELECT partition, watermark_ms, frontier_ms, counted, audited_since_ms, held_since_ms
FROM tap_partition
WHERE stage = ?1 AND topic = ?2
ORDER BY partition
