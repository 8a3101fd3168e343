INSERT INTO expected_reporter (stage, application, at_least, live, state, since_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (stage, application) DO UPDATE
SET at_least = excluded.at_least, live = excluded.live, state = excluded.state, since_ms = excluded.since_ms
