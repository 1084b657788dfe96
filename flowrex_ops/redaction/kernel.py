"""The kernel's side of redaction: everything that a kernel publishes is redacted before it is sent.

So a notebook run by plain papermill, nbclient or JupyterLab is as clean as one run by this tool.
"""

from __future__ import annotations

import sys
from typing import Any

from flowrex_ops.redaction.redactor import Redactor

_PUBLISHED = frozenset(
    {
        "stream",
        "display_data",
        "update_display_data",
        "execute_result",
        "error",
        "execute_input",
        "execute_reply",
        "comm_open",
        "comm_msg",
        "inspect_reply",
        "history_reply",
    }
)
_ATTRIBUTE = "_flowrex_ops_redactor"


def install_in_kernel(redactor: Redactor) -> bool:
    """Redact every message that the running kernel publishes from now on; ``False`` outside a kernel.

    Outputs, streams, results and tracebacks all leave through the session's ``serialize``; this is the one place
    through which each message passes exactly once. A second call adds its secrets to those of the first.
    """
    session = _running_session()
    if session is None:
        return False
    earlier: Redactor | None = getattr(session, _ATTRIBUTE, None)
    if earlier is None:
        _wrap_serialize(session)
        setattr(session, _ATTRIBUTE, redactor)
    else:
        setattr(session, _ATTRIBUTE, Redactor((*earlier.secret_values, *redactor.secret_values)))
    return True


def _running_session() -> Any:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(getattr(shell, "kernel", None), "session", None)


def _wrap_serialize(session: Any) -> None:
    serialize = session.serialize

    def serialize_redacted(msg: dict[str, Any], ident: Any = None) -> Any:
        content = msg.get("content")
        if isinstance(content, dict) and msg.get("header", {}).get("msg_type") in _PUBLISHED:
            msg = {**msg, "content": getattr(session, _ATTRIBUTE).json(content)}
        return serialize(msg, ident)

    session.serialize = serialize_redacted
