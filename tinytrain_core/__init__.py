"""TinyTrain's task-adaptive sparse update as a library: backbones, tasks, selection, engine, reports.

`personalise` is the whole path of one device as one pure call; everything else serves it.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tinytrain-fleet")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
