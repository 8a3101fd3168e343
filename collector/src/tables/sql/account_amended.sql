SELECT t.text, f.text, d.text, a.window_ms, a.at_ms, a.old_verdict, a.new_verdict, a.old_missing, a.new_missing, a.cause
FROM amendment a
JOIN name t ON t.id = a.topic
JOIN name f ON f.id = a.from_stage
JOIN name d ON d.id = a.to_stage
WHERE a.window_ms >= ?1 AND a.window_ms < ?2
ORDER BY a.window_ms DESC, a.id DESC
LIMIT ?3
