SELECT s.text, t.text, f.partition, f.topic_id, f.log
FROM tap_former f
JOIN name s ON s.id = f.stage
JOIN name t ON t.id = f.topic
ORDER BY f.stage, f.topic, f.partition, f.log
