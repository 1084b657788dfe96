-- What each backend that blocks others holds, in a mode strong enough to make others wait, and how many wait for it.
WITH blocker AS (
    SELECT DISTINCT unnest(pg_blocking_pids(waiting.pid)) AS pid
    FROM pg_catalog.pg_stat_activity AS waiting
    WHERE waiting.wait_event_type = 'Lock'
)
SELECT
    held.pid,
    held.locktype AS lock_type,
    coalesce(held.relation::regclass::text, '') AS relation,
    held.mode,
    count(waiting.pid) AS waiting
FROM pg_catalog.pg_locks AS held
JOIN blocker ON blocker.pid = held.pid
LEFT JOIN pg_catalog.pg_locks AS waiting
    ON NOT waiting.granted
    AND waiting.locktype = held.locktype
    AND waiting.database IS NOT DISTINCT FROM held.database
    AND waiting.relation IS NOT DISTINCT FROM held.relation
    AND waiting.page IS NOT DISTINCT FROM held.page
    AND waiting.tuple IS NOT DISTINCT FROM held.tuple
    AND waiting.transactionid IS NOT DISTINCT FROM held.transactionid
    AND waiting.objid IS NOT DISTINCT FROM held.objid
WHERE held.granted AND held.locktype <> 'virtualxid' AND held.mode <> 'AccessShareLock'
GROUP BY held.pid, held.locktype, held.relation, held.mode
ORDER BY waiting DESC, held.pid, held.mode
LIMIT %(rows)s
