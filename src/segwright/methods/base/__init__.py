"""What every method keeps and every other floor asks, by one name: the contract, and a method by name and settings."""

from segwright.methods.base.contract import Method, NoSettings, Progress, settings_known
from segwright.methods.base.loaded import Loaded
from segwright.methods.base.results import Trace, mean_scores
from segwright.methods.base.spec import MethodSpec, as_source, refining, with_profile
from segwright.methods.base.wrappers import FunctionMethod, Reduced, Then
from segwright.weights import split_companions

__all__ = [
    "FunctionMethod", "Loaded", "Method", "MethodSpec", "NoSettings", "Progress", "Reduced", "Then", "Trace",
    "as_source", "mean_scores", "refining", "settings_known", "split_companions", "with_profile",
]  # fmt: skip
