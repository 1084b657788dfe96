"""What there is on the platform and where: found by what the parts are made from, not by their names."""
