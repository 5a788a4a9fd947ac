-- Endpoints by subject: while a relay is told of a move, one agent has the old and the new.

DROP TABLE endpoints;
CREATE TABLE endpoints (
    subject    TEXT PRIMARY KEY NOT NULL,
    agent_id   TEXT NOT NULL,
    namespace  TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'live', 'retired')),
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX endpoints_by_agent ON endpoints (agent_id);
CREATE INDEX endpoints_unsettled ON endpoints (state) WHERE state <> 'live';

-- An old row whose namespace or id is no safe subject token waits for its first look.
INSERT INTO endpoints (subject, agent_id, namespace, state, created_at)
    SELECT 'relay.agent.' || namespace || '.' || id, id, namespace, 'live',
        coalesce(updated_at, registered_at)
    FROM agents
    WHERE status <> 'unreachable' AND unscanned IS NULL
        AND namespace <> '' AND namespace NOT GLOB '*[^a-z0-9-]*'
        AND id NOT GLOB '*[^A-Za-z0-9_-]*';

CREATE INDEX agents_by_last_seen ON agents (last_seen_at) WHERE last_seen_at IS NOT NULL;
