-- How many reporters of an application live at a stage, and how many were ever heard.
SELECT count(CASE WHEN r.ended IS NULL AND r.last_append_ms >= ?3 THEN 1 END), count(*)
FROM reporter r JOIN name s ON s.id = r.stage
WHERE s.text = ?1 AND r.application = ?2
