"""One file a method. ``METHODS`` maps the command line's names to classes with one shape of call."""

from segwright.methods.freeseg_diff import FreeSegDiff

METHODS = {"freeseg-diff": FreeSegDiff}
