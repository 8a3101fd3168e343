SELECT o.reporter, o.body
FROM open_slots o
WHERE o.reporter IN (SELECT w.reporter FROM open_window w WHERE w.topic = ?1 AND w.window_ms >= ?2 AND w.window_ms < ?3)
