INSERT INTO quarantine (cluster, topic, partition, "offset", received_ms, length, sha256, reason)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
RETURNING id
