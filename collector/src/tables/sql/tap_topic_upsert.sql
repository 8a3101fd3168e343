-- The newest metadata answer stands; an older or equal one changes nothing.
INSERT INTO tap_topic (stage, topic, partitions, asked_ms)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (stage, topic) DO UPDATE SET partitions = excluded.partitions, asked_ms = excluded.asked_ms
WHERE excluded.asked_ms > tap_topic.asked_ms
