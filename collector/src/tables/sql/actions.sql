SELECT id, at_ms, who, role, address, action, what, outcome
FROM operator_action
WHERE id < ?1
ORDER BY id DESC
LIMIT ?2
