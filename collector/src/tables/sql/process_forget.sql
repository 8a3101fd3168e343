-- The last of a role stays: that nobody has followed it is worth knowing for as long as it is so.
DELETE FROM process
WHERE beat_ms < ?1 AND EXISTS (SELECT 1 FROM process later
                                WHERE later.role = process.role AND later.beat_ms > process.beat_ms)
