"""Many runbooks, with many parameters, on many platforms: planned, run within bounds, resumed, reported."""
