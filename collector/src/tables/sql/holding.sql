SELECT partition, max(max_offset)
FROM tap_window
WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND stage = ?4
GROUP BY partition
