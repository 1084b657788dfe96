-- what to run, and what became of it; runbook is the notebook's path, slug its name
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    runbook TEXT NOT NULL,
    slug TEXT NOT NULL,
    parameters TEXT NOT NULL,
    settings TEXT NOT NULL,
    outputs TEXT NOT NULL,
    incident TEXT NOT NULL,
    title TEXT NOT NULL,
    platform TEXT NOT NULL,
    kind TEXT NOT NULL,
    trigger TEXT NOT NULL,
    priority TEXT NOT NULL,
    run_seconds REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'finished')),
    attempts INTEGER NOT NULL DEFAULT 0,
    queued_at TEXT NOT NULL,
    not_before TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    status TEXT,
    result TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, priority, id);
CREATE INDEX IF NOT EXISTS jobs_by_incident ON jobs (incident, slug);
