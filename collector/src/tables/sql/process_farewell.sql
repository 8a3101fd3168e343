-- A collector takes those that it followed with it: they had fallen silent before it began.
DELETE FROM process
WHERE id = ?1
   OR (role IN ('run', 'collect')
       AND EXISTS (SELECT 1 FROM process me
                   WHERE me.id = ?1 AND me.role IN ('run', 'collect') AND process.beat_ms < me.started_ms))
