"""What a rehearsal tells while it runs: a line that changes in a terminal, a line now and then elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from server.fleet.rollout.state import Phase, RolloutState
from simulations.rehearsal.times import day_text

LINES = 20  # at most this many lines for the devices of a rollout, beside one for each stage and phase
Told = Callable[[RolloutState, float], None]


class _Watch:
    """How many devices have reported; looked at again only where a node has changed."""

    def __init__(self) -> None:
        self._nodes: object = None
        self.reported = self.devices = 0

    def look(self, state: RolloutState) -> None:
        if state.nodes is self._nodes:
            return
        self._nodes = state.nodes
        self.devices = sum(len(node.devices) for node in state.nodes.values())
        self.reported = sum(len(node.devices) - len(node.owes) for node in state.nodes.values())


def _text(state: RolloutState, watch: _Watch, at_s: float) -> str:
    phase = "" if state.phase is Phase.RUNNING else f", {state.phase.value}"
    return f"{day_text(at_s)}  {state.title}{phase}: {watch.reported} of {watch.devices} devices have reported"


@contextmanager
def _live(console: Console, began_s: float) -> Iterator[Told]:
    watch = _Watch()
    with console.status("getting the fleet ready") as status:

        def told(state: RolloutState, now_s: float) -> None:
            watch.look(state)
            status.update(_text(state, watch, now_s - began_s))

        yield told


@contextmanager
def _lines(console: Console, began_s: float) -> Iterator[Told]:
    watch, last = _Watch(), list[tuple[Phase, int, int]]()

    def told(state: RolloutState, now_s: float) -> None:
        watch.look(state)
        now = (state.phase, state.stage, watch.reported * LINES // max(watch.devices, 1))
        if not last or last[-1] != now:
            last[:] = [now]
            console.print(_text(state, watch, now_s - began_s), highlight=False, soft_wrap=True)

    yield told


@contextmanager
def progress(console: Console, began_s: float) -> Iterator[Told]:
    """What to tell of the rollout after each pass; `began_s` is the virtual time of the start."""
    with (_live if console.is_terminal else _lines)(console, began_s) as told:
        yield told
