"""What is outside of the platform, as one process: a broker, Sentry and status pages, each with faults of its own.

Each service is a module with ``ROUTES``; ``main.SERVICES`` lists them. Runs unmodified on Debian 12's packages and on
current ones. Configured by environment: ``FLOWREX_PORT``, ``FLOWREX_HOST``, ``BROKER_TOKEN``, ``BROKER_ACCOUNT``, ``SENTRY_TOKEN``.
"""
