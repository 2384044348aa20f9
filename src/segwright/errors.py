"""What segwright raises.

SegwrightError            everything that is the caller's to mend; its text is one sentence for a person
+-- InputError            a picture, word, mask, folder or setting that cannot be used
+-- WeightsError          networks that are missing, incomplete or cannot be fetched
+-- OutputError           results that cannot be written
"""


class SegwrightError(Exception):
    """Base of every error that segwright raises on purpose."""


class InputError(SegwrightError, ValueError):
    """A picture, word, mask, folder or setting that cannot be used."""


class WeightsError(SegwrightError):
    """Networks that are missing, incomplete or cannot be fetched."""


class OutputError(SegwrightError):
    """Results that cannot be written."""


NO_MEMORY = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """The memory does not hold it: Python's own error, or PyTorch's, which on the CPU is a plain RuntimeError that says so."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY))
