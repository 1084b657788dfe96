"""The stand-in platform: real parts on one machine, so that every runbook can be run, taught and tested by anyone.

It is no part of the library, which does not know it: it plugs in its commands and its driver by entry points (pyproject.toml).
"""
