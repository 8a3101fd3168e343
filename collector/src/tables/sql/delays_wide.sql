-- Few windows are wide: there is an index of those.
SELECT w.hist
FROM stage_window w INDEXED BY stage_window_wide --lite
--pg FROM stage_window w
WHERE w.width_ms > 10000 AND w.topic = ?1 AND w.window_ms >= ?2 AND w.window_ms < ?3 AND w.width_ms >= ?5 AND w.stage = ?4
      AND w.class IN (0, 1, 5)
