"""iSeg (Sun et al. 2024): ``method`` is the whole of it, ``explain`` its page."""
