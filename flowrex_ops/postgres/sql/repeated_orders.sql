-- repeated_orders
-- Orders since a time that are the same (account, symbol, side, quantity) and less than a time after the one before, or that carry
-- a client's order id again. Those that came to nothing count among all, and never as placed again: to try again is no duplicate. Which columns there are differs
-- from platform to platform, so they are taken by way of JSON. The totals are of all orders, also of those that the limit cuts off.
WITH orders AS (
    SELECT t.created_at, t.symbol::text AS symbol, t.side::text AS side,
        coalesce(j ->> 'account_id', j ->> 'account', j ->> 'user_id', j ->> 'customer_id', j ->> 'portfolio_id') AS account,
        coalesce(j ->> 'quantity', j ->> 'qty', j ->> 'units', j ->> 'size', j ->> 'amount', j ->> 'volume') AS quantity,
        coalesce(j ->> 'client_order_id', j ->> 'cl_ord_id', j ->> 'clordid', j ->> 'idempotency_key') AS client_order,
        lower(t.status::text) NOT IN ('failed', 'blocked', 'rejected', 'cancelled', 'canceled', 'expired', 'error') AS stands
    FROM trades AS t, LATERAL to_jsonb(t) AS j
    WHERE t.created_at >= now() - make_interval(secs => %(recent)s)
), compared AS (
    SELECT o.*, o.stands AND (o.created_at - lag(o.created_at) OVER same) < make_interval(secs => %(within)s) AS again
    FROM orders AS o
    WINDOW same AS (PARTITION BY o.stands, o.account, o.symbol, o.side, o.quantity ORDER BY o.created_at)
)
SELECT c.account, c.symbol, c.side, c.quantity,
    count(*) AS orders,
    count(*) FILTER (WHERE c.again) AS again,
    count(c.client_order) FILTER (WHERE c.stands) - count(DISTINCT c.client_order) FILTER (WHERE c.stands) AS same_id,
    min(c.created_at) FILTER (WHERE c.again) AS first_at,
    max(c.created_at) FILTER (WHERE c.again) AS last_at,
    (sum(count(*)) OVER ())::bigint AS all_orders,
    (sum(count(*) FILTER (WHERE c.again)) OVER ())::bigint AS all_again
FROM compared AS c
GROUP BY 1, 2, 3, 4
ORDER BY same_id DESC, again DESC, orders DESC, 1, 2, 3, 4
LIMIT least(%(rows)s, 20)
