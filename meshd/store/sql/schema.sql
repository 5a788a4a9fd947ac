-- What the migrations add up to. For reading only: nothing executes this file, and a test
-- proves that it equals them. Columns stand in the order in which they were added.

-- Which migrations were applied, and when. `PRAGMA user_version` is the newest number here.
CREATE TABLE migrations (
    number     INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at TEXT NOT NULL
) STRICT;

-- One row per identity; what manifests say, and what the registry must remember of it.
CREATE TABLE agents (
    id                TEXT PRIMARY KEY NOT NULL,
    name              TEXT NOT NULL,
    display_name      TEXT,
    runtime           TEXT NOT NULL,
    project_path      BLOB UNIQUE,       -- NULL once another id holds the path
    namespace         TEXT NOT NULL DEFAULT 'default',  -- the effective one
    capabilities_json TEXT NOT NULL DEFAULT '[]',
    description       TEXT NOT NULL DEFAULT '',
    approver          TEXT,
    status            TEXT NOT NULL DEFAULT 'active'    -- `inactive` is never written any more
                      CHECK (status IN ('active', 'inactive', 'unreachable')),
    persona           TEXT,
    persona_enabled   INTEGER NOT NULL DEFAULT 1,
    traits_json       TEXT,
    conventions_json  TEXT,
    is_system         INTEGER NOT NULL DEFAULT 0,       -- what the manifest says; gives no power
    color             TEXT,
    icon              TEXT,
    model             TEXT,
    effort            TEXT,
    account           TEXT,
    last_seen_at      TEXT,              -- the last heartbeat, not the last look
    last_seen_event   TEXT,
    registered_at     TEXT NOT NULL,     -- as the manifest says it, any offset
    updated_at        TEXT,
    scan_root         BLOB NOT NULL DEFAULT x'',        -- empty in rows from before schema 2
    behavior_json     TEXT NOT NULL DEFAULT '{"responseMode":"always"}',
    budget_json       TEXT NOT NULL DEFAULT '{"maxHopsPerMessage":5,"maxCallsPerHour":100}',
    last_path         BLOB NOT NULL DEFAULT x'',        -- where it was last seen alive
    registered_by     TEXT NOT NULL DEFAULT '',
    declared_namespace TEXT,             -- what the manifest says, effective or not
    enabled_tool_groups_json TEXT NOT NULL DEFAULT '{}',
    mcp_servers_json  TEXT NOT NULL DEFAULT '[]',       -- names and `enabled` only, never secrets
    unreachable_reason TEXT,
    unreachable_since TEXT,              -- for people and age queries; removes nothing
    absent_clock      REAL,              -- observed seconds of its root when first seen absent
    unscanned         TEXT,              -- why its path is not scanned; NULL while it is
    born_sweep        INTEGER,           -- number of the sweep it was registered in
    flags_json        TEXT NOT NULL DEFAULT '[]',
    seq               INTEGER NOT NULL DEFAULT 0        -- its latest entry in `changes`
) STRICT;

CREATE INDEX agents_by_namespace ON agents (namespace);
CREATE INDEX agents_by_status ON agents (status, unreachable_since);
CREATE INDEX agents_by_scan_root ON agents (scan_root, status);
CREATE INDEX agents_by_last_path ON agents (last_path);
CREATE INDEX agents_unscanned ON agents (unscanned) WHERE unscanned IS NOT NULL;
CREATE INDEX agents_by_last_seen ON agents (last_seen_at) WHERE last_seen_at IS NOT NULL;

-- Paths the operator told meshd to leave alone. Mirrored to policy.json.
CREATE TABLE denials (
    path       BLOB PRIMARY KEY NOT NULL,
    reason     TEXT,
    denier     TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

-- Explicit rules between namespaces. Mirrored to policy.json.
CREATE TABLE rules (
    source_namespace TEXT NOT NULL,
    target_namespace TEXT NOT NULL,
    created_at       TEXT NOT NULL,
    action           TEXT NOT NULL DEFAULT 'allow'      -- old rules could only allow
                     CHECK (action IN ('allow', 'deny')),
    PRIMARY KEY (source_namespace, target_namespace)
) STRICT;

-- What each manifest path said last, and how it was judged.
CREATE TABLE claims (
    path         BLOB PRIMARY KEY NOT NULL,
    root         BLOB NOT NULL,
    outcome      TEXT NOT NULL,
    agent_id     TEXT,              -- kept while the path cannot be read: the id stays contested
    reason       TEXT,
    detail       TEXT,              -- our own words, never the file's bytes
    signature    TEXT,              -- device:inode:size:mtime_ns:ctime_ns of the manifest
    content_hash TEXT,              -- SHA-256 of the bytes read
    dork         TEXT,              -- device:inode of .dork
    filesystem   TEXT,              -- type:fsid of the project directory
    look         INTEGER NOT NULL,  -- number of the look; a newer one outranks an older
    looked_at_ns INTEGER NOT NULL,
    owner        INTEGER            -- user id of the owner of the project directory
) STRICT, WITHOUT ROWID;

CREATE INDEX claims_by_agent ON claims (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX claims_by_outcome ON claims (outcome, root);

-- Configured roots: health, what each was when first seen, and its observed clock.
CREATE TABLE roots (
    path             BLOB PRIMARY KEY NOT NULL,
    healthy          INTEGER NOT NULL,
    reason           TEXT,
    filesystem       TEXT,          -- type:fsid; with `inode`, NULL before the first healthy look
    inode            TEXT,          -- text, because an inode number may exceed 63 bits
    observed_seconds REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The change log: audit trail, event feed and outbox. AUTOINCREMENT: no number is given twice.
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

-- Which path held an id that several claim before the database was rebuilt.
CREATE TABLE incumbents (
    agent_id TEXT PRIMARY KEY NOT NULL,
    path     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Relay subjects, in the same transaction as the agent they belong to.
CREATE TABLE endpoints (
    subject    TEXT PRIMARY KEY NOT NULL,
    agent_id   TEXT NOT NULL,       -- of a retired one the row may be gone
    namespace  TEXT NOT NULL,
    state      TEXT NOT NULL        -- all but `live` wait for a relay outside the database
               CHECK (state IN ('pending', 'live', 'retired')),
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX endpoints_by_agent ON endpoints (agent_id);
CREATE INDEX endpoints_unsettled ON endpoints (state) WHERE state <> 'live';

-- Registrations under way: what the next start must finish or undo.
CREATE TABLE intents (
    id            INTEGER PRIMARY KEY,
    kind          TEXT NOT NULL,
    path          BLOB NOT NULL,
    document_json TEXT NOT NULL,
    created_at    TEXT NOT NULL
) STRICT;

-- Facts about this database: its epoch, counters.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
