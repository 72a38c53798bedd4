"""The FMA paper's classifiers on its own features, for the command src/known_answer.py. No stage depends on it."""
