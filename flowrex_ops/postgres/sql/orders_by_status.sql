-- orders_by_status
-- Orders since a time by status: how many, and how many of them are older than a time, with the ages of those. The state is what a
-- status means: open is sent, or to be sent, and nothing known of it; an order that rests in the broker's book has its answer.
WITH orders AS (
    SELECT lower(t.status::text) AS status, t.symbol::text AS symbol, now() - t.created_at AS age,
        t.created_at < now() - make_interval(secs => %(late)s) AS late
    FROM trades AS t
    WHERE t.created_at >= now() - make_interval(secs => %(since)s)
), named AS (
    SELECT o.*, CASE
        WHEN o.status IN ('pending', 'pending_new', 'submitted', 'sent', 'queued', 'processing', 'in_progress') THEN 'open'
        WHEN o.status IN ('filled', 'partially_filled', 'executed', 'completed', 'complete', 'done', 'closed', 'settled', 'booked',
            'failed', 'blocked', 'rejected', 'cancelled', 'canceled', 'expired', 'error', 'replaced',
            'new', 'accepted', 'open', 'working') THEN 'closed'
        ELSE 'not understood' END AS state
    FROM orders AS o
)
SELECT n.state, n.status, count(*) AS orders,
    count(*) FILTER (WHERE n.late) AS late,
    extract(epoch FROM max(n.age) FILTER (WHERE n.late))::float8 AS oldest_seconds,
    extract(epoch FROM min(n.age) FILTER (WHERE n.late))::float8 AS newest_seconds,
    left(string_agg(DISTINCT n.symbol, ', ') FILTER (WHERE n.late), 100) AS symbols
FROM named AS n
GROUP BY 1, 2
ORDER BY n.state = 'closed', late DESC, orders DESC, 2
LIMIT %(rows)s
