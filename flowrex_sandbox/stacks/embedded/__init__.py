"""The stand-in platform as plain processes under supervisord; every part comes from a Python wheel."""
