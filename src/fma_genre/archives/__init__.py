"""Archives in the FMA's layout, and the tracks that they hold. Nothing here fetches anything."""
