"""WebSockets: shaken hands with, their ends read from logs, judged, drawn."""
