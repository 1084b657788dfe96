-- Failed and blocked trades per minute and reason since a time, newest minute first.
SELECT
    date_trunc('minute', t.created_at) AS minute,
    t.status,
    coalesce(regexp_replace(left(t.error_message, 300), '\d+\.\d+|\d{4,}', '#', 'g'), '') AS reason,
    count(*) AS trades
FROM trades AS t
WHERE t.created_at >= now() - make_interval(secs => %(since)s) AND t.status IN ('failed', 'blocked')
GROUP BY 1, 2, 3
ORDER BY 1 DESC, 4 DESC
LIMIT %(rows)s
