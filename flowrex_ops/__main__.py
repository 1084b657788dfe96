"""``python -m flowrex_ops`` is the command ``flowrex-ops``."""

from flowrex_ops.cli import main

main()
