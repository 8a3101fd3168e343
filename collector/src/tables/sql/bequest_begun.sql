SELECT s.text, t.text, b.partitions
FROM tap_begun b
JOIN name s ON s.id = b.stage
JOIN name t ON t.id = b.topic
ORDER BY b.stage, b.topic
