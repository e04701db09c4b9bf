"""What `flwr` answers with `--format json`, among whatever else it and its libraries print."""

import json
from collections.abc import Iterator
from typing import Any

from tinytrain_core.errors import FleetError

_SHOWN = 500  # characters of what was not understood


def _objects(printed: str) -> Iterator[dict[str, Any]]:
    """Every JSON object that begins somewhere in a text, outer before inner ones."""
    decoder, start = json.JSONDecoder(), printed.find("{")
    while start >= 0:
        end = start + 1
        try:
            found, end = decoder.raw_decode(printed, start)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            yield found
        start = printed.find("{", end)


def answer_in(printed: str, command: str, needed: str) -> Any:
    """The part called `needed` of a command's answer, which is the last object that says whether it succeeded.

    Raises:
        FleetError: it did not succeed, or there is no such answer or part.
    """
    answers = [found for found in _objects(printed) if "success" in found]
    answer = answers[-1] if answers else {}
    if not answer.get("success"):
        why = " ".join(str(answer.get("error-message", printed)).split()) or "it said nothing"
        raise FleetError(f"`{command}` failed: {why[:_SHOWN]}")
    if answer.get(needed) is None:
        raise FleetError(f"`{command}` answered without {needed!r}: {str(answer)[:_SHOWN]}; is it another Flower?")
    return answer[needed]
