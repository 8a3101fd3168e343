-- No window is wider than 600 s; the key is by start.
INSERT INTO pending (topic, window_ms, width_ms, due_ms, touched, unsettled)
SELECT DISTINCT topic, window_ms, width_ms, 0, 0, 0
FROM hop_window
WHERE topic = ?2 AND window_ms > ?3 - 600000 AND window_ms + width_ms > ?3 AND (from_stage = ?1 OR to_stage = ?1)
ON CONFLICT DO UPDATE SET due_ms = 0
