SELECT topic, window_ms, width_ms, touched, version
FROM pending
WHERE due_ms <= ?1
ORDER BY due_ms, window_ms
LIMIT ?2
