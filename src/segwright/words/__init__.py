"""Words: the nouns of a caption, prompt templates, vocabularies, and which of their words to expect in a photo."""
