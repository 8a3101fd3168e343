SELECT h.delayed, h.window_ms + h.width_ms
FROM hop_window h
WHERE h.topic = ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3 AND h.width_ms >= ?4 AND h.delayed > 0
