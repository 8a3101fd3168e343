INSERT INTO consumer_position (stage, topic, partition, position, at_ms)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (stage, topic, partition) DO UPDATE SET position = excluded.position, at_ms = excluded.at_ms
WHERE excluded.position > consumer_position.position
