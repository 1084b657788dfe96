"""Pure judgement: readings in, verdicts out, no I/O; one module per runbook."""
