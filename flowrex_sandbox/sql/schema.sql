-- The stand-in platform's schema and seed, run once in database flowrex by its owner, role flowrex.
CREATE TABLE accounts (
    id         integer PRIMARY KEY,
    owner      text NOT NULL,
    balance    numeric(18, 2) NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE trades (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id    integer NOT NULL REFERENCES accounts (id),
    symbol        text NOT NULL,
    side          text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity      numeric(18, 4) NOT NULL,
    status        text NOT NULL,
    error_message text,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX trades_created_at ON trades (created_at);
CREATE INDEX trades_account_id ON trades (account_id);
CREATE TABLE prices (
    symbol text PRIMARY KEY,
    price  numeric(18, 5) NOT NULL
);
INSERT INTO accounts (id, owner, balance)
SELECT n, 'user-' || n, 100000 FROM generate_series(1, 5) n;
INSERT INTO prices VALUES
    ('EURUSD', 1.08450), ('GBPUSD', 1.26310), ('USDJPY', 151.20000), ('XAUUSD', 2650.10000), ('BTCUSD', 96500.00000);
INSERT INTO trades (account_id, symbol, side, quantity, status, error_message, created_at)
SELECT n % 5 + 1,
       (ARRAY['EURUSD', 'GBPUSD', 'USDJPY', 'XAUUSD', 'BTCUSD'])[n % 5 + 1],
       CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END,
       n % 100 + 1,
       CASE WHEN n % 200 = 0 THEN 'failed' ELSE 'filled' END,
       CASE WHEN n % 200 = 0 THEN 'rejected by broker: MARKET_HALTED' END,
       now() - interval '1 day' * (n / 2000.0)
FROM generate_series(1, 2000) n;
ANALYZE accounts, trades, prices;
