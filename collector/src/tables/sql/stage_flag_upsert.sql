INSERT INTO stage_flag (stage, kind, topic, from_ms, to_ms)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (stage, kind, topic, from_ms) DO UPDATE SET to_ms = excluded.to_ms WHERE excluded.to_ms > stage_flag.to_ms
