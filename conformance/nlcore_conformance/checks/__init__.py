"""The checks: the problems that a backend is asked, and how its answers are judged."""
