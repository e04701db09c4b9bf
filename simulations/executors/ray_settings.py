"""How a Ray of our own is started: quiet, small, and without anything that a simulation does not use."""

import logging
from typing import Any

OBJECT_STORE_BYTES = 256 * 2**20  # a message holds one backbone; Ray would take a third of the machine
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
LOCAL: dict[str, Any] = QUIET | {
    "num_gpus": 0,
    "include_dashboard": False,
    "object_store_memory": OBJECT_STORE_BYTES,
}
