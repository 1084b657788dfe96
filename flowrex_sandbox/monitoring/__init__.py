"""Prometheus, Alertmanager and the blackbox exporter of the stand-in platform, the same for both stacks."""
