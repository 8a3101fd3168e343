SELECT (SELECT min(topic) FROM stage_window WHERE topic > ?1),
       (SELECT min(topic) FROM hop_window WHERE topic > ?1),
       (SELECT min(topic) FROM stage_level WHERE topic > ?1),
       (SELECT min(topic) FROM hop_level WHERE topic > ?1)
