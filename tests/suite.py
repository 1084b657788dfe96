"""How much of the suite is run."""

import os

WHOLE = os.environ.get("FLOWREX_SUITE") == "whole"
"""Everything on both stacks, every drill and every pair of dead sources (``make whole``), which takes hours."""
