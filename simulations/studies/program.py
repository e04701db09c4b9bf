"""The program that the commands of studies belong to."""

import shlex
import sys

PROGRAM = "tinytrain-sim"
INTERRUPTED = 130  # its exit code then


def typed_command() -> str:
    """What was typed, as somebody else would type it."""
    return shlex.join([PROGRAM, *sys.argv[1:]])
