"""Why answers are slow though requests succeed: where the time of a request goes, and why."""
