"""What nlcore's claims of speed and memory are measured with: `python -m benchmarks --help`."""
