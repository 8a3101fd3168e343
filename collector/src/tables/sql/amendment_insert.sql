INSERT INTO amendment
    (topic, window_ms, from_stage, to_stage, at_ms, old_verdict, new_verdict, old_missing, new_missing, old_surplus,
     new_surplus, cause)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
