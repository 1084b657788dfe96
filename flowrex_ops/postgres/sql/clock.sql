-- The time of this moment, not of the transaction's beginning (PostgreSQL's manual, 9.9.5).
SELECT clock_timestamp() AS now
