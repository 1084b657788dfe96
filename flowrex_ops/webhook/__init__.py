"""Alerts start runbooks: Alertmanager's webhook, which keeps each alert on disk and queues a job for it."""
