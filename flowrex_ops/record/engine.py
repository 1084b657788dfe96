"""stub"""


class RecordEngine:
    """Stub."""
