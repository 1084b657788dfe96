"""PostgreSQL: its sessions, locks and limits, the pools before it, and the sessions that may be ended."""
