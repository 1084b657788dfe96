"""Numbers that the platform tells of itself: the replicas' ``/metrics`` pages, and Prometheus' history of them."""
