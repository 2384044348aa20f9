"""G4Seg (Zhang et al. 2025), in parts: ``method`` is the whole of it."""
