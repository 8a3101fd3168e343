UPDATE pending SET due_ms = ?4, touched = 0, unsettled = ?5 WHERE topic = ?1 AND window_ms = ?2 AND width_ms = ?3
