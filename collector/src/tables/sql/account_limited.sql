-- Windows whose verdict says how many, without a caveat.
SELECT t.text, f.text, d.text, x.windows
FROM (
    SELECT topic, from_stage, to_stage, count(*) AS windows
    FROM hop_window
    WHERE window_ms >= ?1 AND window_ms < ?2 AND verdict <> 'ok'
      AND verdict IN ('missing', 'surplus', 'delayed', 'overdue') AND caveats = '[]'
    GROUP BY topic, from_stage, to_stage
) x
JOIN name t ON t.id = x.topic
JOIN name f ON f.id = x.from_stage
JOIN name d ON d.id = x.to_stage
