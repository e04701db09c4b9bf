"""What every program that starts Flower tells it by its environment; Flower itself is not imported here."""

# No telemetry, no update check, and no installing of what is installed.
FLOWER_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
