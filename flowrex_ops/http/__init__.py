"""Failed requests: who answered 5xx, since when, and why; and a client shut out."""
