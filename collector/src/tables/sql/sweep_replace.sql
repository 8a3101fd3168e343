INSERT INTO sweep (job, from_ms, to_ms, topic)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (job) DO UPDATE
SET from_ms = excluded.from_ms, to_ms = excluded.to_ms, topic = excluded.topic
