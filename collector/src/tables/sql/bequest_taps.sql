SELECT s.text, t.text, p.partition, p.log, p.epoch, p.claimed_ms, p.audited_since_ms, p.topic_id
FROM tap_partition p
JOIN name s ON s.id = p.stage
JOIN name t ON t.id = p.topic
ORDER BY p.stage, p.topic, p.partition
