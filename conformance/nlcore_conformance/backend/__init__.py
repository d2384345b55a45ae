"""Backends: their interface, the way from a name to one, and those that the suite ships."""
