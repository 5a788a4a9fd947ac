-- The registry as it was before anti-entropy: agents, denials and namespace rules.

CREATE TABLE migrations (
    number     INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at TEXT NOT NULL
) STRICT;

CREATE TABLE agents (
    id                TEXT PRIMARY KEY NOT NULL,
    name              TEXT NOT NULL,
    display_name      TEXT,
    runtime           TEXT NOT NULL,
    project_path      BLOB UNIQUE,
    namespace         TEXT NOT NULL DEFAULT 'default',
    capabilities_json TEXT NOT NULL DEFAULT '[]',
    description       TEXT NOT NULL DEFAULT '',
    approver          TEXT,
    status            TEXT NOT NULL DEFAULT 'active'
                      CHECK (status IN ('active', 'inactive', 'unreachable')),
    persona           TEXT,
    persona_enabled   INTEGER NOT NULL DEFAULT 1,
    traits_json       TEXT,
    conventions_json  TEXT,
    is_system         INTEGER NOT NULL DEFAULT 0,
    color             TEXT,
    icon              TEXT,
    model             TEXT,
    effort            TEXT,
    account           TEXT,
    last_seen_at      TEXT,
    last_seen_event   TEXT,
    registered_at     TEXT NOT NULL,
    updated_at        TEXT
) STRICT;

CREATE TABLE denials (
    path       BLOB PRIMARY KEY NOT NULL,
    reason     TEXT,
    denier     TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE rules (
    source_namespace TEXT NOT NULL,
    target_namespace TEXT NOT NULL,
    created_at       TEXT NOT NULL,
    PRIMARY KEY (source_namespace, target_namespace)
) STRICT;
