-- Ten minutes in which something is wrong, was amended, or waits for the judge; what narrower rows were kept for is kept too.
SELECT window_ms
FROM hop_window
WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3
  AND (missing_min > 0 OR surplus_min > 0 OR delayed > 0 OR amendments > 0
       OR verdict NOT IN ('ok', 'partial', 'unproven', 'no_report'))
UNION
SELECT window_ms
FROM pending
WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3
UNION
SELECT window_ms
FROM kept
WHERE window_ms >= ?2 AND window_ms < ?3 AND topic = ?1
