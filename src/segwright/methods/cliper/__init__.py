"""CLIPer (Sun et al. 2025): ``method`` is the whole of it, ``explain`` its page."""
