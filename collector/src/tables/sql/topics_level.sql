-- SQLite sorts for a GROUP BY, which costs more than adding up what it gives.
-- The numbers are the severities of the verdicts: a test holds them to it.
SELECT h.topic, h.from_stage, h.to_stage, h.hop, h.missing_min, h.surplus_min, h.delayed, --lite
--pg SELECT h.topic, h.from_stage, h.to_stage, max(h.hop), CAST(sum(h.missing_min) AS BIGINT),
--pg        CAST(sum(h.surplus_min) AS BIGINT), CAST(sum(h.delayed) AS BIGINT), max(
       CASE WHEN h.n_missing > 0 THEN 12
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
            WHEN h.n_open > 0 THEN 1 ELSE 0 END
--pg   )
FROM hop_level h
WHERE h.level_ms = ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3
--pg GROUP BY h.topic, h.from_stage, h.to_stage
