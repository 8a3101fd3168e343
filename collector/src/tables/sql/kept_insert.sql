INSERT INTO kept (level_ms, window_ms, topic)
VALUES (?1, ?2, ?3)
ON CONFLICT (window_ms, level_ms, topic) DO NOTHING
