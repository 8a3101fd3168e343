SELECT version
FROM pending
WHERE topic = ?1 AND window_ms = ?2 AND width_ms = ?3
--pg FOR UPDATE
