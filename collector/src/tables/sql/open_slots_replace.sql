INSERT INTO open_slots (reporter, version, body)
VALUES (?1, ?2, ?3)
ON CONFLICT (reporter) DO UPDATE SET version = excluded.version, body = excluded.body
