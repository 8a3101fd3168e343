INSERT INTO stage_group (stage, of_group, pipeline) VALUES (?1, ?2, ?3)
ON CONFLICT (stage, of_group, pipeline) DO NOTHING
