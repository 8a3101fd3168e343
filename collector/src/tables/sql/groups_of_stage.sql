SELECT DISTINCT of_group FROM stage_group WHERE stage = ?1
