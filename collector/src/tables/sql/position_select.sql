SELECT position, at_ms FROM consumer_position WHERE stage = ?1 AND topic = ?2 AND partition = ?3
