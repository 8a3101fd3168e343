SELECT cluster, topic, partition, "offset", received_ms, length, sha256, reason
FROM quarantine
ORDER BY id DESC
LIMIT ?1
