-- What proves that the registry is true: claims, roots with their observed clocks, the change
-- log, and what a row must remember to be frozen, displaced, relocated and removed rightly.

ALTER TABLE agents ADD COLUMN last_path BLOB NOT NULL DEFAULT x'';
ALTER TABLE agents ADD COLUMN registered_by TEXT NOT NULL DEFAULT '';
ALTER TABLE agents ADD COLUMN declared_namespace TEXT;
ALTER TABLE agents ADD COLUMN enabled_tool_groups_json TEXT NOT NULL DEFAULT '{}';
ALTER TABLE agents ADD COLUMN mcp_servers_json TEXT NOT NULL DEFAULT '[]';
ALTER TABLE agents ADD COLUMN unreachable_reason TEXT;
ALTER TABLE agents ADD COLUMN unreachable_since TEXT;
ALTER TABLE agents ADD COLUMN absent_clock REAL;
ALTER TABLE agents ADD COLUMN unscanned TEXT;
ALTER TABLE agents ADD COLUMN born_sweep INTEGER;
ALTER TABLE agents ADD COLUMN flags_json TEXT NOT NULL DEFAULT '[]';
ALTER TABLE agents ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;

UPDATE agents SET last_path = project_path WHERE project_path IS NOT NULL;
UPDATE agents SET status = 'active' WHERE status = 'inactive';
-- An old row does not say since when it is gone, so its last change stands for that. Its grace
-- starts with the first sweep: only observed time removes.
UPDATE agents SET unreachable_reason = 'project-missing',
    unreachable_since = coalesce(updated_at, registered_at)
    WHERE status = 'unreachable';

CREATE INDEX agents_by_namespace ON agents (namespace);
CREATE INDEX agents_by_status ON agents (status, unreachable_since);
CREATE INDEX agents_by_scan_root ON agents (scan_root, status);
CREATE INDEX agents_by_last_path ON agents (last_path);
CREATE INDEX agents_unscanned ON agents (unscanned) WHERE unscanned IS NOT NULL;

ALTER TABLE rules ADD COLUMN action TEXT NOT NULL DEFAULT 'allow'
    CHECK (action IN ('allow', 'deny'));

CREATE TABLE claims (
    path         BLOB PRIMARY KEY NOT NULL,
    root         BLOB NOT NULL,
    outcome      TEXT NOT NULL,
    agent_id     TEXT,
    reason       TEXT,
    detail       TEXT,
    signature    TEXT,              -- device:inode:size:mtime_ns:ctime_ns of the manifest
    content_hash TEXT,              -- SHA-256 of the bytes read
    dork         TEXT,              -- device:inode of .dork
    filesystem   TEXT,              -- type:fsid of the project directory
    look         INTEGER NOT NULL,
    looked_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX claims_by_agent ON claims (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX claims_by_outcome ON claims (outcome, root);

CREATE TABLE roots (
    path             BLOB PRIMARY KEY NOT NULL,
    healthy          INTEGER NOT NULL,
    reason           TEXT,
    filesystem       TEXT,
    inode            TEXT,
    observed_seconds REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL,
    agent_id    TEXT,
    path        BLOB,
    source      TEXT NOT NULL,
    at          TEXT NOT NULL,
    before_json TEXT,
    after_json  TEXT
) STRICT;

CREATE INDEX changes_by_agent ON changes (agent_id) WHERE agent_id IS NOT NULL;

CREATE TABLE incumbents (
    agent_id TEXT PRIMARY KEY NOT NULL,
    path     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE endpoints (
    agent_id   TEXT PRIMARY KEY NOT NULL,
    subject    TEXT NOT NULL UNIQUE,
    state      TEXT NOT NULL DEFAULT 'live',
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE intents (
    id            INTEGER PRIMARY KEY,
    kind          TEXT NOT NULL,
    path          BLOB NOT NULL,
    document_json TEXT NOT NULL,
    created_at    TEXT NOT NULL
) STRICT;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
