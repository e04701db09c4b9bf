-- Times are seconds since 1970, UTC. Structured texts are JSON.

CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    public_key TEXT NOT NULL UNIQUE,    -- OpenSSH, of the key that the node signs its requests with
    node_id TEXT UNIQUE,                -- the SuperLink's, a 64-bit number as text; NULL until it is registered
    tags TEXT NOT NULL DEFAULT '[]',
    location TEXT NOT NULL DEFAULT '',
    added_s REAL NOT NULL,
    removed_s REAL,                     -- NULL while it may connect
    last_seen_s REAL,
    status TEXT                         -- the last status that it sent
);

CREATE TABLE devices (
    number INTEGER PRIMARY KEY,         -- what the operator calls the device, unique in the fleet
    node TEXT NOT NULL REFERENCES nodes (name),
    profile TEXT NOT NULL               -- its class in the device catalogue
);

CREATE TABLE rollouts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    release_version INTEGER NOT NULL,
    release_digest TEXT NOT NULL,
    state TEXT NOT NULL,                -- everything that the state machine knows, its nodes apart
    phase TEXT NOT NULL,                -- for people and queries; it is in `state` as well
    started_s REAL NOT NULL,
    ended_s REAL
);

CREATE TABLE rollout_nodes (             -- what the state machine knows of each node
    rollout INTEGER NOT NULL REFERENCES rollouts (id),
    node TEXT NOT NULL REFERENCES nodes (name),
    progress TEXT NOT NULL,
    PRIMARY KEY (rollout, node)
);

CREATE TABLE commands (                 -- of the operator to the controller
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout INTEGER NOT NULL REFERENCES rollouts (id),
    what TEXT NOT NULL,                 -- pause, resume, abort-keep, abort-roll-back
    reason TEXT NOT NULL DEFAULT '',
    at_s REAL NOT NULL,
    done_s REAL
);
CREATE INDEX commands_to_do ON commands (rollout) WHERE done_s IS NULL;

CREATE TABLE decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout INTEGER NOT NULL REFERENCES rollouts (id),
    at_s REAL NOT NULL,
    what TEXT NOT NULL,
    reason TEXT NOT NULL,
    figures TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX decisions_by_rollout ON decisions (rollout, id);

CREATE TABLE reports (
    node TEXT NOT NULL REFERENCES nodes (name),
    report_id INTEGER NOT NULL,
    rollout INTEGER NOT NULL,           -- 0: the device did it by itself
    attempt INTEGER NOT NULL,
    release_version INTEGER NOT NULL,
    device INTEGER NOT NULL,
    profile INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    error INTEGER NOT NULL,
    made_s REAL NOT NULL,               -- by the node's clock
    received_s REAL NOT NULL,
    fields TEXT NOT NULL,               -- the whole report
    acknowledged_s REAL,                -- when the node answered a message that told it that this is stored
    PRIMARY KEY (node, report_id)
);
CREATE INDEX reports_by_rollout ON reports (rollout, release_version);
CREATE INDEX reports_by_time ON reports (received_s);
CREATE INDEX reports_by_device ON reports (device, received_s);
CREATE INDEX reports_by_node ON reports (node, received_s);
CREATE INDEX reports_to_acknowledge ON reports (node) WHERE acknowledged_s IS NULL;

CREATE TABLE refusals (                 -- answers that were not valid, and orders that a node refused
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node TEXT NOT NULL,
    at_s REAL NOT NULL,
    rollout INTEGER NOT NULL DEFAULT 0,
    error INTEGER NOT NULL,             -- an error code
    reason TEXT NOT NULL                -- in the server's words
);
CREATE INDEX refusals_by_node ON refusals (node, at_s);

CREATE TABLE controller (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    run_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    beat_s REAL NOT NULL
);
