"""Secrets are taken out of everything before it reaches disk, a wire or a screen."""
