"""The platform's services: which are gone or ill, how severe that is for users, and replicas restarted, rolled back and scaled."""
