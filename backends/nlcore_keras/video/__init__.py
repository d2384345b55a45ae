"""The paper's video networks in Keras."""
