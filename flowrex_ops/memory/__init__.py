"""Memory of replicas, host and Redis: read, judged, drawn, and freed."""
