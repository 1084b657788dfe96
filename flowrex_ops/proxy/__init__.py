"""The proxy that users come through: what it answers, its configuration, and the snippets by which it is controlled."""
