"""The methods, one file each; `registry.py` finds them by name, those from outside the package too."""

from tinytrain_core.selection.methods.base import Method, Problem
from tinytrain_core.selection.methods.registry import METHODS, checked_spec, load_methods, method_by_name, register

__all__ = ["METHODS", "Method", "Problem", "checked_spec", "load_methods", "method_by_name", "register"]
