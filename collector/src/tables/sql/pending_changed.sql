-- A window of the span was counted in, or put back, since it was judged.
SELECT 1 FROM pending WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND due_ms = 0 LIMIT 1
