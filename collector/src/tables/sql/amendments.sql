SELECT a.at_ms, f.text, d.text, a.old_verdict, a.new_verdict, a.old_missing, a.new_missing, a.old_surplus, a.new_surplus,
       a.cause
FROM amendment a
JOIN name f ON f.id = a.from_stage
JOIN name d ON d.id = a.to_stage
WHERE a.topic = ?1 AND a.window_ms >= ?2 AND a.window_ms < ?3
ORDER BY a.id DESC
LIMIT ?4
