SELECT t.text, f.text, d.text, h.window_ms, h.width_ms, h.verdict, h.missing_min, h.surplus_min, h.delayed, h.caveats,
       h.why, h.settled_ms, h.amendments
FROM hop_window h
JOIN name t ON t.id = h.topic
JOIN name f ON f.id = h.from_stage
JOIN name d ON d.id = h.to_stage
WHERE h.window_ms >= ?1 AND h.window_ms < ?2 AND h.topic = ?8
  AND (h.window_ms < ?4 OR (t.text, f.text, d.text) > (?5, ?6, ?7))
ORDER BY h.window_ms DESC, t.text, f.text, d.text
LIMIT ?3
