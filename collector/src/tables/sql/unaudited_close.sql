UPDATE unaudited
SET to_event_ms = ?4
WHERE stage = ?1 AND topic = ?2 AND partition = ?3 AND to_event_ms IS NULL
