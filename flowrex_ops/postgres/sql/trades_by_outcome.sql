-- What became of the trades since a time: how many of each outcome, and how many of them lately.
-- Long numbers are taken out of the error, so that "worth 4711.00" and "worth 815.00" are one reason.
-- The totals are of all trades, also of those that the limit cuts off; failures come first.
SELECT
    t.status,
    coalesce(regexp_replace(left(t.error_message, 300), '\d+\.\d+|\d{4,}', '#', 'g'), '') AS reason,
    t.symbol,
    t.side,
    count(*) AS trades,
    count(*) FILTER (WHERE t.created_at >= now() - make_interval(secs => %(recent)s)) AS recent,
    min(t.created_at) AS first_at,
    max(t.created_at) AS last_at,
    extract(epoch FROM now() - max(t.created_at))::float8 AS last_age_seconds,
    (sum(count(*)) OVER ())::bigint AS all_trades,
    (sum(count(*) FILTER (WHERE t.created_at >= now() - make_interval(secs => %(recent)s))) OVER ())::bigint AS all_recent
FROM trades AS t
WHERE t.created_at >= now() - make_interval(secs => %(since)s)
GROUP BY 1, 2, 3, 4
ORDER BY t.status IN ('failed', 'blocked') DESC, recent DESC, trades DESC, 3, 4
LIMIT %(rows)s
