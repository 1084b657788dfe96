"""The database's backups: taken, checked, tried out, restored, and taken back."""
