"""Trades and the broker: asked, judged, drawn."""
