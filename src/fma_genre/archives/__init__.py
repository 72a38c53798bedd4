"""Readers for archives in the FMA's layout: receipt, zip members, clips, track table. They never download anything."""
