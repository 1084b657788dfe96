"""Executable incident runbooks for the Flowrex trading platform."""
