"""The ways in which the stand-in platform runs: as plain processes under supervisord, or under Docker Compose."""
