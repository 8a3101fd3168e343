INSERT INTO tap_former (stage, topic, partition, topic_id, log)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (stage, topic, partition, topic_id) DO NOTHING
