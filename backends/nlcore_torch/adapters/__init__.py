"""What wraps an nn.Module as a backend for the conformance suite."""
