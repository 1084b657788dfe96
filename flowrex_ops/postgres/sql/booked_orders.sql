-- booked_orders
-- Orders since a time, one by one, the newest first, to be laid beside the broker's list. Which columns there are differs from platform to
-- platform, so they are taken by way of JSON. The state is whether a status means that it was filled.
SELECT j ->> 'id' AS id,
    coalesce(j ->> 'client_order_id', j ->> 'cl_ord_id', j ->> 'clordid', j ->> 'idempotency_key') AS client_order,
    coalesce(j ->> 'account_id', j ->> 'account', j ->> 'user_id', j ->> 'customer_id', j ->> 'portfolio_id') AS account,
    t.symbol::text AS symbol, t.side::text AS side,
    coalesce(j ->> 'quantity', j ->> 'qty', j ->> 'units', j ->> 'size', j ->> 'amount', j ->> 'volume') AS quantity,
    t.status::text AS status,
    CASE
        WHEN lower(t.status::text) IN ('filled', 'partially_filled', 'executed', 'completed', 'complete', 'done', 'closed', 'settled', 'booked')
            THEN 'filled'
        ELSE 'not filled'
    END AS state,
    t.created_at
FROM trades AS t, LATERAL to_jsonb(t) AS j
WHERE t.created_at >= now() - make_interval(secs => %(since)s)
ORDER BY t.created_at DESC
LIMIT %(rows)s
