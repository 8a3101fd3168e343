-- How many reporters of an application live at a stage, and whether one (1) or none (0) was ever heard.
SELECT (SELECT count(*) FROM reporter r JOIN name s ON s.id = r.stage
        WHERE s.text = ?1 AND r.application = ?2 AND r.ended IS NULL AND r.last_append_ms >= ?3),
       (SELECT count(*) FROM (SELECT 1 AS one FROM reporter r JOIN name s ON s.id = r.stage
                              WHERE s.text = ?1 AND r.application = ?2 LIMIT 1) heard)
