INSERT INTO topic_pipeline (topic, pipeline, owner, runbook) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (topic) DO UPDATE SET pipeline = excluded.pipeline, owner = excluded.owner, runbook = excluded.runbook
WHERE topic_pipeline.pipeline <> excluded.pipeline OR topic_pipeline.owner IS DISTINCT FROM excluded.owner
   OR topic_pipeline.runbook IS DISTINCT FROM excluded.runbook
