"""The operation in tensors: from x to W_z y + b, stage by stage."""
