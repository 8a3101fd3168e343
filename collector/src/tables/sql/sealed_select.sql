SELECT sealed
FROM reporter
WHERE id = ?1
--pg FOR UPDATE SKIP LOCKED
