"""Training and inference on stored spectrograms. The module `build` loads networks and front ends by name."""
