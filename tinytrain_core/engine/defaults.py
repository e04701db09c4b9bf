"""How a plan is trained where nobody says otherwise; how these were chosen is in `settings.py`."""

STEPS = 40
LEARNING_RATE = 3e-3
OPTIMISER = "adam"
VIEWS = 4
MAX_VIEWS = 100
PRECISION = "half"
