SELECT t.text, f.text, d.text, h.window_ms, h.width_ms, h.hop, h.verdict, h.missing_min, h.surplus_min, h.delayed, h.amendments
FROM hop_window h
JOIN name t ON t.id = h.topic
JOIN name f ON f.id = h.from_stage
JOIN name d ON d.id = h.to_stage
WHERE h.width_ms >= ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3 AND h.topic = ?5
ORDER BY h.window_ms DESC
LIMIT ?4
