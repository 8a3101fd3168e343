SELECT stage, max(width_ms)
FROM stage_window
WHERE topic = ?1 AND window_ms IN (?2, ?3) AND width_ms > ?4 AND class IN (0, 1, 5)
  AND window_ms = CASE width_ms WHEN 60000 THEN ?2 ELSE ?3 END
GROUP BY stage
