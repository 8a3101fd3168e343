SELECT t.text, p.partition, p.log, p.epoch, p.next, p.watermark_ms
FROM tap_partition p
JOIN name s ON s.id = p.stage
JOIN name t ON t.id = p.topic
WHERE s.text = ?1
ORDER BY t.text, p.partition
