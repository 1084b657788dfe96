-- Whoever follows this server's WAL and how far behind: connected standbys, slots that keep WAL for one that is away, commits that
-- wait for a standby's answer, and this server itself where it is a standby. Positions and states are NULL for a role without
-- pg_read_all_stats (PostgreSQL: pg_stat_replication). A base backup under way is no standby.
WITH here AS (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END AS lsn
)
SELECT 'standby' AS kind, r.application_name AS name, r.state, r.sync_state,
    pg_wal_lsn_diff(here.lsn, coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn))::float8 AS behind_bytes,
    extract(epoch FROM r.replay_lag)::float8 AS lag_seconds
FROM pg_catalog.pg_stat_replication AS r, here
WHERE r.state IS DISTINCT FROM 'backup'
UNION ALL
SELECT 'slot', s.slot_name::text, 'nobody connected', NULL, pg_wal_lsn_diff(here.lsn, s.restart_lsn)::float8, NULL
FROM pg_catalog.pg_replication_slots AS s, here
WHERE NOT s.active AND s.restart_lsn IS NOT NULL
UNION ALL
SELECT 'commit', coalesce(a.application_name, ''), 'waits for a standby', NULL, NULL,
    extract(epoch FROM clock_timestamp() - a.state_change)::float8
FROM pg_catalog.pg_stat_activity AS a
WHERE a.wait_event = 'SyncRep'
UNION ALL
SELECT 'this server', 'this server', 'standby', NULL,
    pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::float8,
    CASE WHEN pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()
        THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END
WHERE pg_is_in_recovery()
ORDER BY 5 DESC NULLS LAST
LIMIT %(rows)s
