-- No window is wider than 600 s; the key is by start.
SELECT topic, window_ms, width_ms
FROM hop_window
WHERE topic = ?2 AND window_ms > ?3 - CAST(600000 AS BIGINT) AND window_ms + width_ms > ?3
  AND (from_stage = ?1 OR to_stage = ?1)
--pg UNION SELECT topic, window_ms, width_ms FROM pending
--pg WHERE topic = ?2 AND window_ms > ?3 - CAST(600000 AS BIGINT)
