UPDATE audit_lost
SET to_ms = CASE WHEN to_ms < ?6 THEN to_ms ELSE ?6 END, bounded = 1
WHERE cluster = ?1 AND topic = ?2 AND partition = ?3 AND log = ?4 AND bounded = 0 AND resumes <= ?5
