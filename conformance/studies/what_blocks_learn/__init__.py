"""Films, networks and trainings that show what a non-local block can learn: docs/evidence.md."""
