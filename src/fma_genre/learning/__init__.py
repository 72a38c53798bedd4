"""Training and inference on stored spectrograms. Networks and front ends are loaded by name, and never imported."""
