"""Certificates: as served and as on disk, judged, drawn, renewed and reloaded."""
