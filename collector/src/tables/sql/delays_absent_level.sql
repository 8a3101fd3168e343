SELECT h.delayed, h.window_ms + h.level_ms
FROM hop_level h
WHERE h.topic = ?1 AND h.level_ms = ?4 AND h.window_ms >= ?2 AND h.window_ms < ?3 AND h.delayed > 0
