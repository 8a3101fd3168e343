-- What ended below the log start but for the last of it, and of what is too old the two oldest: more than come at once.
DELETE FROM offset_index
WHERE partition = ?1
  AND (end_offset < (SELECT max(end_offset) FROM offset_index WHERE partition = ?1 AND end_offset <= ?2)
       OR (last_ms < ?3
           AND end_offset IN (SELECT end_offset FROM offset_index WHERE partition = ?1 ORDER BY end_offset LIMIT 2)))
