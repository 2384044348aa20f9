"""The method for people with a photo and words: ``method`` is the whole of it, ``explain`` its page."""
