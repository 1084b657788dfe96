"""The commands ``sandbox`` and ``drill`` of ``flowrex-ops``, plugged in by entry point."""
