INSERT INTO stage_rule (topic, stage, rule, first_ms, last_ms)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (topic, stage, rule) DO UPDATE
SET first_ms = CASE WHEN excluded.first_ms < stage_rule.first_ms THEN excluded.first_ms ELSE stage_rule.first_ms END,
    last_ms = CASE WHEN excluded.last_ms > stage_rule.last_ms THEN excluded.last_ms ELSE stage_rule.last_ms END
WHERE excluded.first_ms < stage_rule.first_ms OR excluded.last_ms > stage_rule.last_ms
