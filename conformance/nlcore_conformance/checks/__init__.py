"""The checks: what a backend is asked, and how its answers are judged."""
