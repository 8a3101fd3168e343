SELECT t.text, s.text, x.untimed
FROM (
    SELECT topic, stage, CAST(sum(n) AS BIGINT) AS untimed
    FROM stage_level
    WHERE level_ms = ?3 AND window_ms >= ?1 AND window_ms < ?2 AND class NOT IN (0, 1, 5)
    GROUP BY topic, stage
) x
JOIN name t ON t.id = x.topic
JOIN name s ON s.id = x.stage
