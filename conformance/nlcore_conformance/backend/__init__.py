"""What a backend is, how one is found by name, and those that the suite ships."""
