"""Download of archives and synthesis of the built-in demo. Only src/download.py imports this package."""
