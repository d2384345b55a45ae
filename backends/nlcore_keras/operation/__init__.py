"""The operation in keras.ops: from x to W_z y + b, stage by stage."""
