SELECT w.window_ms, w.width_ms, w.partition, w.log, w.n, w.min_offset, w.max_offset
FROM tap_window w
JOIN name t ON t.id = w.topic
JOIN name s ON s.id = w.stage
WHERE t.text = ?1 AND s.text = ?2 AND w.window_ms >= ?3 AND w.window_ms < ?4
