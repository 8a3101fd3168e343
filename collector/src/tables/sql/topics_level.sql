-- The numbers are the severities of the verdicts: a test holds them to it.
SELECT x.topic, t.text, f.text, d.text, x.hop, x.severity, x.missing, x.surplus, x.delayed
FROM (
    SELECT h.topic, h.from_stage, h.to_stage, max(h.hop) AS hop, CAST(sum(h.missing_min) AS BIGINT) AS missing,
           CAST(sum(h.surplus_min) AS BIGINT) AS surplus, CAST(sum(h.delayed) AS BIGINT) AS delayed,
           max(CASE WHEN h.n_missing > 0 THEN 12
                    WHEN h.n_mixed > 0 THEN 11
                    WHEN h.n_surplus > 0 THEN 10
                    WHEN h.n_overdue > 0 THEN 9
                    WHEN h.n_delayed > 0 THEN 8
                    WHEN h.n_uncertain > 0 THEN 7
                    WHEN h.n_no_report > 0 THEN 6
                    WHEN h.n_unproven > 0 THEN 5
                    WHEN h.n_partial > 0 THEN 4
                    WHEN h.n_re_read > 0 THEN 3
                    WHEN h.n_settling > 0 THEN 2
                    WHEN h.n_open > 0 THEN 1 ELSE 0 END) AS severity
    FROM hop_level h
    WHERE h.level_ms = ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3
    GROUP BY h.topic, h.from_stage, h.to_stage
) x
JOIN name t ON t.id = x.topic
JOIN name f ON f.id = x.from_stage
JOIN name d ON d.id = x.to_stage
