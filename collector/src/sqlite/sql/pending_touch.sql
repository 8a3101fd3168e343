INSERT INTO pending (topic, window_ms, width_ms, due_ms, touched, unsettled)
VALUES (?1, ?2, ?3, 0, 1, 1)
ON CONFLICT DO UPDATE SET due_ms = 0, touched = 1
