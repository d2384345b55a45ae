"""The non-local operation in PyTorch: the stages from x to W_z y + b."""
