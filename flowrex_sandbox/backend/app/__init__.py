"""The stand-in backend: a small trading API on a real connection pool.

Runs unmodified on Debian 12's packages and on current ones. Configured by environment: ``FLOWREX_PORT``,
``FLOWREX_REPLICA``, ``FLOWREX_VERSION``, ``FLOWREX_DEFECTS``, ``DATABASE_URL``, ``REDIS_URL``, ``FLOWREX_POOL_SIZE``,
``BROKER_URL``, ``BROKER_TOKEN``, ``BROKER_ACCOUNT``.
"""
