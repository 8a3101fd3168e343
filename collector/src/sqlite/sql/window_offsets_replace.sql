INSERT OR REPLACE INTO window_offsets (window_ms, topic, stage, width_ms, partitions)
VALUES (?1, ?2, ?3, ?4, ?5)
