"""Fetching of archives, and the built-in demo's synthesis. Only the stage download uses it."""
