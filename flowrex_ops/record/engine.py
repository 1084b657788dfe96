"""stub"""
class RecordEngine:
    """Stub."""
