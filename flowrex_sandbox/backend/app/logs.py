"""Log lines as the platform writes them: UTC time in milliseconds, level, text; tracebacks follow their line.

In JSON each entry is one line, its traceback inside.
"""

from __future__ import annotations

import json
import logging
import sys
import time

from . import defects, metrics


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        if not defects.active("json-logs"):
            return super().format(record)
        entry = {"time": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
        if record.exc_info:
            entry["exc_info"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _Counter(logging.Handler):
    """Counts what is logged as an error, so that an alert can watch it."""

    def emit(self, _record: logging.LogRecord) -> None:
        metrics.LOG_ERRORS.inc()


def configure() -> None:
    """Everything to stdout, from INFO up; the libraries' own chatter from WARNING up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler, _Counter(logging.ERROR)])
    for name in ("uvicorn.access", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.ERROR)


log = logging.getLogger("flowrex")
