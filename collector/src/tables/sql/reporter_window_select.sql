SELECT reporter, n, acked, failed, bytes, last_ms
FROM reporter_window
WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3
