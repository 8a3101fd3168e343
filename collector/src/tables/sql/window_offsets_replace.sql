INSERT INTO window_offsets (window_ms, topic, stage, width_ms, partitions)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (window_ms, topic, stage, width_ms) DO UPDATE
SET partitions = excluded.partitions
