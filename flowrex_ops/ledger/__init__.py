"""What an incident keeps on disk: its folder, timeline, evidence and manifest, redacted before the first byte."""
