-- What the registry must know of a manifest to be kept in step with it.
-- Rows from before get the defaults the manifest schema has.

ALTER TABLE agents ADD COLUMN scan_root BLOB NOT NULL DEFAULT x'';
ALTER TABLE agents ADD COLUMN behavior_json TEXT NOT NULL DEFAULT '{"responseMode":"always"}';
ALTER TABLE agents ADD COLUMN budget_json TEXT NOT NULL
    DEFAULT '{"maxHopsPerMessage":5,"maxCallsPerHour":100}';
