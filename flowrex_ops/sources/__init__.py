"""All read-only I/O: one module per source. Every ``get_*`` answers with a ``Reading`` and never raises."""
