INSERT OR REPLACE INTO expected_reporter (stage, application, at_least, live, state, since_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
