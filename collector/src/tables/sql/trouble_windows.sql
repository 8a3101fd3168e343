SELECT t.text, h.topic, h.window_ms, h.width_ms
FROM hop_window h
JOIN name t ON t.id = h.topic
WHERE h.window_ms >= ?1 AND h.window_ms <= ?2 AND h.verdict <> 'ok' AND h.verdict NOT IN ('no_report', 'partial', 're-read')
ORDER BY h.window_ms DESC
LIMIT ?3
