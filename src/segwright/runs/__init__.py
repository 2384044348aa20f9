"""Whole collections: where photos come from, where results go, what a run folder remembers, and who does the work."""
