-- No window is wider than 600 s; the index is on the start.
INSERT INTO pending (topic, window_ms, width_ms, due_ms, touched, unsettled)
SELECT DISTINCT topic, window_ms, width_ms, 0, 0, 0
FROM hop_window
WHERE window_ms > ?2 - 600000 AND window_ms < ?3 AND window_ms + width_ms > ?2 AND (from_stage = ?1 OR to_stage = ?1)
ON CONFLICT DO UPDATE SET due_ms = 0
