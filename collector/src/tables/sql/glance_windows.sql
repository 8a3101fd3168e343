SELECT h.window_ms, h.width_ms, h.hop, h.verdict, h.missing_min, h.surplus_min, h.delayed, h.amendments,
       h.caveats
FROM hop_window h
WHERE h.width_ms >= ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3 AND h.topic = ?5
ORDER BY h.window_ms DESC
LIMIT ?4
