"""The record: an executed runbook, redacted, true under failure, immutable once finished."""
