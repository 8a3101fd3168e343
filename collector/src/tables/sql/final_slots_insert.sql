INSERT INTO final_slots (reporter, first_id, last_id, ids, final_ms, version, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
