CREATE TABLE IF NOT EXISTS groups (
    key TEXT PRIMARY KEY,
    incident TEXT NOT NULL
) WITHOUT ROWID;

-- the newest episode of each alert
CREATE TABLE IF NOT EXISTS alerts (
    group_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    runbook TEXT NOT NULL,
    firing INTEGER NOT NULL,
    starts_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (group_key, fingerprint)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_key TEXT NOT NULL,
    incident TEXT NOT NULL,
    title TEXT NOT NULL,
    runbook TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'begun', 'ended')),
    queued_at TEXT NOT NULL,
    not_before TEXT NOT NULL,
    begun_at TEXT,
    ended_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    record TEXT,
    status TEXT,
    reason TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, severity, id);
CREATE INDEX IF NOT EXISTS jobs_by_incident ON jobs (incident, runbook);

-- every alert that was accepted, as it was sent, redacted; job is the run that answers for it
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    incident TEXT NOT NULL,
    meaning TEXT NOT NULL,
    alert TEXT NOT NULL,
    job INTEGER REFERENCES jobs (id),
    noted INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS deliveries_to_note ON deliveries (noted, id);

CREATE TABLE IF NOT EXISTS health (one INTEGER PRIMARY KEY CHECK (one = 1), at TEXT NOT NULL);
