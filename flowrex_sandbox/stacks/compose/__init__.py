"""The stand-in platform as a Docker Compose project, with the service names and the file name of the real one."""
