"""OVDiff (Karazija et al. 2024), in parts: ``method`` is the whole of it."""
