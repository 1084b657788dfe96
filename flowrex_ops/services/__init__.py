"""The platform's services: which are gone or unhealthy, how severe that is for users, and replicas restarted, rolled back and scaled."""
