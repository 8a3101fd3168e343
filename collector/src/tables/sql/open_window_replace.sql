INSERT INTO open_window (topic, window_ms, stage, reporter, width_ms, slots, unreported)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (topic, window_ms, stage, reporter, width_ms) DO UPDATE
SET slots = excluded.slots, unreported = excluded.unreported
