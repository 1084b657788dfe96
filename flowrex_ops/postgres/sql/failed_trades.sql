-- The newest failed trades, as the playbook lists them, and those that still wait for an answer; what was blocked as meant
-- comes last, for it must not crowd out the others.
SELECT t.id, t.symbol, t.side, t.status, coalesce(t.error_message, '') AS error_message, t.created_at
FROM trades AS t
WHERE t.created_at >= now() - make_interval(secs => %(since)s)
  AND (t.status IN ('failed', 'blocked') OR t.status = 'pending' AND t.created_at < now() - interval '10 seconds')
ORDER BY t.status = 'blocked', t.created_at DESC
LIMIT least(%(rows)s, 100)
