SELECT s.text, t.text, u.partition, u.from_offset, u.to_offset, u.from_event_ms, u.to_event_ms, u.at_ms, u.cause
FROM unaudited u
JOIN name s ON s.id = u.stage
JOIN name t ON t.id = u.topic
ORDER BY u.id DESC
LIMIT ?1
