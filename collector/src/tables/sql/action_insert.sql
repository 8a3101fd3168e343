INSERT INTO operator_action (at_ms, who, role, address, action, what, outcome)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
