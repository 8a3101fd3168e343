SELECT job, from_ms, to_ms, topic
FROM sweep
ORDER BY job
--pg FOR UPDATE
