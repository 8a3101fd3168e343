SELECT f.reporter, f.body
FROM final_slots f
JOIN reporter r ON r.id = f.reporter
JOIN name s ON s.id = r.stage
WHERE s.text = ?1 AND f.final_ms >= ?2
ORDER BY f.final_ms
