"""Alerts start runbooks: Alertmanager's webhook, a queue on disk, and workers that run each accepted alert once."""
