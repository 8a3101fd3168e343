INSERT INTO pending (topic, window_ms, width_ms, due_ms, touched, unsettled, version)
VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6)
ON CONFLICT (topic, window_ms, width_ms) DO UPDATE
SET due_ms = 0, touched = CASE WHEN excluded.touched = 1 THEN 1 ELSE pending.touched END, version = excluded.version
