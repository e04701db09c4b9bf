"""The folder of a study: `study.json` says what was asked for, `trials.csv` has what came of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from server.versions import versions
from simulations.studies.arms import Training
from simulations.studies.sources import sources_digest
from simulations.studies.study_loading import Settings, build_study
from simulations.studies.study_settings import StudySettings
from tinytrain_core.backbones.weights import digest, read_bytes
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import write_file

STUDY_FILE = "study.json"
UNKNOWN = "unknown"  # of studies that say nothing of their code
SHOWN = 40  # characters of a name or digest in a message

# What every trial of a folder has to have in common; what is by label or by name may be added to.
COMMON = ("ways", "shots", "queries", "steps", "views", "compute_share", "memory_mib", "seed", "device")


class StudyRecord(BaseModel):
    """What `study.json` holds.

    Attributes:
        settings: of the last command.
        inputs: "test/LABEL", "validation/LABEL", "meta/LABEL", "plain/LABEL" or "methods/FILE" -> the data's name,
            or the digest of the file, of everything that any trial in the folder is of.
        sources: the digest of the code of the last command; earlier_sources: of other code before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    command: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    sources: str = UNKNOWN
    earlier_sources: tuple[str, ...] = ()

    def other_sources(self, now: str) -> tuple[str, ...]:
        """The digests of all code that had to do with it, but for the code of `now`."""
        return tuple(s for s in dict.fromkeys((*self.earlier_sources, self.sources)) if s != now)


def _inputs(settings: StudySettings) -> dict[str, str]:
    """What goes into a study, by what the study calls it."""
    data = {f"test/{label}": name for label, name in settings.data.items()}
    data |= {f"validation/{label}": name for label, name in settings.validation.items()}
    for training in Training:
        data |= {f"{training}/{label}": digest(read_bytes(f)) for label, f in settings.files(training).items()}
    return data | {f"methods/{file.name}": digest(file.read_bytes()) for file in settings.methods_files}


def _differing(found: StudyRecord, kind: str, asked: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
    """What this study and the one in the folder have different."""
    there = {"the kind of study": found.study} | {n: found.settings.get(n) for n in COMMON} | found.inputs
    now = {"the kind of study": kind} | {n: asked[n] for n in COMMON} | dict(inputs)
    return [
        f"{name} is {str(there[name])[:SHOWN]} there and {str(now[name])[:SHOWN]} here"
        for name in there
        if name in now and there[name] != now[name]
    ]


def read_study(out: Path) -> StudyRecord:
    """What was asked for in a folder.

    Raises:
        ConfigurationError: it holds no study, or a damaged one.
    """
    file = out / STUDY_FILE
    if not file.is_file():
        raise ConfigurationError(f"{out} holds no study: there is no {STUDY_FILE}")
    try:
        return StudyRecord.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ConfigurationError(f"{file} is damaged: {error.errors()[0]['msg']}; give another --out") from None


def claim(out: Path, settings: StudySettings, command: str) -> StudyRecord:
    """Say in `out` whose trials it holds; more trials, methods, data and backbones go on with what is there.

    Returns:
        what it now says.

    Raises:
        ConfigurationError: they are another study's, or there is no such backbone.
        StorageError: the folder cannot be written.
    """
    record = _new(settings, command)
    if (out / STUDY_FILE).exists():
        record = _going_on(out, read_study(out), record)
    write_file(out / STUDY_FILE, (json.dumps(record.model_dump(mode="json"), indent=2) + "\n").encode())
    return record


def _new(settings: StudySettings, command: str) -> StudyRecord:
    return StudyRecord(
        study=settings.kind,
        command=command,
        settings=settings.model_dump(mode="json"),
        inputs=_inputs(settings),
        versions=versions(),
        sources=sources_digest(),
    )


def _going_on(out: Path, found: StudyRecord, now: StudyRecord) -> StudyRecord:
    """`now`, with what the folder has been of before."""
    if differing := _differing(found, now.study, now.settings, now.inputs):
        raise ConfigurationError(f"{out} holds another study: {'; '.join(differing)}; give another --out")
    earlier = found.other_sources(now.sources)
    return now.model_copy(update={"inputs": found.inputs | now.inputs, "earlier_sources": earlier})


def read_settings(out: Path, kind: type[Settings], changes: Mapping[str, Any]) -> Settings:
    """The settings of the study in a folder, with `changes`.

    Raises:
        ConfigurationError: it holds none, one of another kind, or one that this version cannot read.
    """
    record = read_study(out)
    if record.study != kind.kind:
        raise ConfigurationError(f"{out} holds a study of the kind {record.study}, not {kind.kind}")
    return build_study(kind, record.settings | dict(changes))
