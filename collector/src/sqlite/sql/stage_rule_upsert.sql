INSERT INTO stage_rule (topic, stage, rule, first_ms, last_ms)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET first_ms = min(excluded.first_ms, stage_rule.first_ms), last_ms = max(excluded.last_ms, stage_rule.last_ms)
WHERE excluded.first_ms < stage_rule.first_ms OR excluded.last_ms > stage_rule.last_ms
