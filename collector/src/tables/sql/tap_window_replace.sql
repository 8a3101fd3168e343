INSERT INTO tap_window (topic, window_ms, stage, partition, width_ms, log, n, min_offset, max_offset)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (topic, window_ms, stage, partition, width_ms) DO UPDATE
SET log = excluded.log, n = excluded.n, min_offset = excluded.min_offset, max_offset = excluded.max_offset
