-- order_rates
-- Orders that stand, by account and symbol: so many recent ones, and in the hour before them. Those that came to nothing are left out: what is
-- refused has a cause of its own. Which columns there are differs from platform to platform, so they are taken by way of JSON.
WITH orders AS (
    SELECT t.symbol::text AS symbol, t.created_at >= now() - make_interval(secs => %(recent)s) AS recent,
        coalesce(j ->> 'account_id', j ->> 'account', j ->> 'user_id', j ->> 'customer_id', j ->> 'portfolio_id') AS account
    FROM trades AS t, LATERAL to_jsonb(t) AS j
    WHERE t.created_at >= now() - make_interval(secs => %(recent)s + 3600)
      AND lower(t.status::text) NOT IN ('failed', 'blocked', 'rejected', 'cancelled', 'canceled', 'expired', 'error')
)
SELECT o.account, o.symbol,
    60 * count(*) FILTER (WHERE o.recent) / %(recent)s::float8 AS per_minute,
    count(*) FILTER (WHERE NOT o.recent) / 60.0::float8 AS before,
    60 * sum(count(*) FILTER (WHERE o.recent)) OVER ()::float8 / %(recent)s::float8 AS all_per_minute,
    sum(count(*) FILTER (WHERE NOT o.recent)) OVER ()::float8 / 60 AS all_before
FROM orders AS o
GROUP BY 1, 2
ORDER BY per_minute DESC, 1, 2
LIMIT least(%(rows)s, 20)
