"""One table of work: each job is claimed, run in a process of its own, finalized, and recovered after a kill."""
