INSERT INTO unaudited (stage, topic, partition, log, from_offset, to_offset, at_ms, from_event_ms, cause)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
