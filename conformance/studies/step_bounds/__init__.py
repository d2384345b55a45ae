"""First-order bounds of the weights after an iteration of training."""
