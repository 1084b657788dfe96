"""From findings to people: what to say while an incident lasts."""
