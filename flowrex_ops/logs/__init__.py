"""Log lines read: entries in the usual forms, access logs, errors and the requests that they belong to. Bounded, streamed, read-only."""
