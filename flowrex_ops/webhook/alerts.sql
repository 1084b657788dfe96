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

-- a storm asks both of these for each of its alerts: which was the newest, and was this one told by another route
CREATE INDEX IF NOT EXISTS alerts_by_change ON alerts (changed_at);
CREATE INDEX IF NOT EXISTS alerts_by_fingerprint ON alerts (fingerprint);
