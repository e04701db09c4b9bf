"""Where the files of releases are, read with every check and written whole.

    objects/<sha256>.safetensors
    manifests/<line>/<version>.json, <version>.signatures.json
    rollbacks/<line>/<to>-withdraws-<from>[+<from>...].json, and its .signatures.json; <...>-2.json is a later one

Weights are written before the manifest that names them. So a killed process leaves weights that nobody names, or
a whole release. Hidden files are locks, and what a killed process had half written.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from server.releases.signing import (
    LOCK_WAIT_S,
    SignedRelease,
    read_bounded,
    read_manifest_file,
    read_signatures,
    signatures_path,
)
from tinytrain_core.backbones.weights import MAX_FILE_BYTES, digest
from tinytrain_core.errors import ConfigurationError, ManifestError, ReleaseError, RollbackError, StorageError
from tinytrain_core.files import exclusive, write_file
from tinytrain_core.release import Manifest, Trust, check_file

_NUMBER = r"[1-9][0-9]{0,9}"
_RELEASE = re.compile(rf"^({_NUMBER})\.json$")
_ORDER = re.compile(rf"^({_NUMBER})-withdraws-({_NUMBER}(?:\+{_NUMBER})*)(?:-{_NUMBER})?\.json$")
_OBJECT = re.compile(r"^[0-9a-f]{64}\.safetensors$")


def _names(folder: Path) -> list[str]:
    """What is in a folder, less hidden files; nothing where there is no such folder."""
    try:
        return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read the folder {folder}: {error.strerror}") from error


def _order_stem(manifest: Manifest) -> str:
    return f"{manifest.version}-withdraws-{'+'.join(map(str, manifest.withdraws))}"


class Shelf:
    """The files of one line of releases. The folder is made at the first write.

    Every method raises StorageError where a file cannot be read or written, and ManifestError or SignatureError
    where one is damaged or not what its name says; the text names the file.
    """

    def __init__(self, folder: Path, line: str) -> None:
        self.folder, self.line = folder, line
        self._manifests = folder / "manifests" / line
        self._rollbacks = folder / "rollbacks" / line
        self._objects = folder / "objects"

    def versions(self) -> list[int]:
        """The versions of all releases, withdrawn ones included."""
        found = (_RELEASE.match(name) for name in _names(self._manifests))
        return sorted(int(match[1]) for match in found if match)

    def manifest_file(self, version: int) -> Path:
        """Where the manifest of a release is."""
        return self._manifests / f"{version}.json"

    def release(self, version: int) -> SignedRelease:
        """A release.

        Raises:
            ConfigurationError: there is none of that version.
        """
        known = self.versions()
        if version not in known:
            there = f"it has {', '.join(map(str, known))}" if known else "it has none yet"
            raise ConfigurationError(f"the line {self.line} has no release {version}; {there}")
        return self.at(self.manifest_file(version))

    def order_files(self) -> list[Path]:
        """The files of all roll-back orders."""
        return [self._rollbacks / name for name in _names(self._rollbacks) if _ORDER.match(name)]

    def manifest_files(self) -> list[Path]:
        """The manifests of all releases, the latest first, and of all roll-back orders."""
        return [*map(self.manifest_file, reversed(self.versions())), *self.order_files()]

    def at(self, file: Path) -> SignedRelease:
        """The release or roll-back order whose manifest `file` is."""
        manifest, data = read_manifest_file(file)
        stem = _order_stem(manifest) if manifest.is_rollback else str(manifest.version)
        folder = self._rollbacks if manifest.is_rollback else self._manifests
        if manifest.name != self.line or file.parent != folder or not _is_named(file, stem, manifest.is_rollback):
            raise ManifestError(f"{file} is {manifest.kind} {manifest.version} of {manifest.name}, in another's place")
        return SignedRelease(manifest, data, read_signatures(signatures_path(file)))

    def rollback_order(
        self, to: int, withdraws: int, trust: Trust | None = None, now_s: float = 0.0
    ) -> SignedRelease | None:
        """The order to go back to `to` from `withdraws`.

        Of several it is the newest that passes its check by `trust` at the time `now_s`. Where none does, or without
        `trust`, it is the one most signed, and then the newest.
        """
        found = [
            self.at(file)
            for file in self.order_files()
            if (match := _ORDER.match(file.name)) and int(match[1]) == to and str(withdraws) in match[2].split("+")
        ]
        valid = [order for order in found if trust is not None and _passes(order, trust, now_s)]
        if valid:
            return max(valid, key=lambda order: (order.manifest.created, order.manifest.expires))
        return max(found, key=lambda order: (len(order.signatures), order.manifest.created), default=None)

    def object_file(self, digest: str) -> Path:
        """Where the weights of that digest are."""
        return self._objects / f"{digest}.safetensors"

    def file(self, digest: str) -> bytes:
        """The weights of that digest, which they have."""
        file = self.object_file(digest)
        data = read_bounded(file, MAX_FILE_BYTES)
        _check_digest(data, digest, file)
        return data

    def foreign(self) -> Iterator[Path]:
        """Files and folders that are none of the registry's."""
        known = {"objects", "manifests", "rollbacks", "channels.json", "withdrawn.json"}
        yield from (self.folder / name for name in _names(self.folder) if name not in known)
        for folder, pattern in ((self._manifests, _RELEASE), (self._rollbacks, _ORDER), (self._objects, _OBJECT)):
            names = _names(folder)
            ours = {name for name in names if pattern.match(name)}
            ours |= {signatures_path(Path(name)).name for name in ours}
            yield from (folder / name for name in names if name not in ours)

    def add(self, manifest: Manifest, data: bytes) -> Path:
        """File a release and its weights; where its manifest is.

        Raises:
            RollbackError: its version is not above the highest.
            ManifestError: the weights are not those of the manifest, or it is of another line.
        """
        check_file(manifest, data)
        self._check_line(manifest)
        with exclusive(self.folder, LOCK_WAIT_S):
            highest = max(self.versions(), default=0)
            if manifest.version <= highest:
                raise RollbackError(
                    f"version {manifest.version} is not above {highest}, the highest of {self.line}; versions only "
                    "go up, and going back is a roll-back order"
                )
            self._keep(manifest.digest, data)
            write_file(self.manifest_file(manifest.version), manifest.to_bytes())
        return self.manifest_file(manifest.version)

    def add_order(self, manifest: Manifest) -> Path:
        """File a roll-back order, beside earlier ones of the same kind; where it is."""
        self._check_line(manifest)
        with exclusive(self.folder, LOCK_WAIT_S):
            stem, count = _order_stem(manifest), 1
            while (file := self._rollbacks / (f"{stem}-{count}.json" if count > 1 else f"{stem}.json")).exists():
                count += 1
            write_file(file, manifest.to_bytes())
        return file

    def _check_line(self, manifest: Manifest) -> None:
        if manifest.name != self.line:
            raise ManifestError(f"the manifest is of the line {manifest.name}, this registry has {self.line}")

    def _keep(self, digest: str, data: bytes) -> None:
        try:
            self.file(digest)
        except (StorageError, ManifestError):  # not there yet, or damaged
            write_file(self.object_file(digest), data)


def _passes(order: SignedRelease, trust: Trust, now_s: float) -> bool:
    try:
        order.check(trust, now_s)
    except ReleaseError:
        return False
    return True


def _is_named(file: Path, stem: str, numbered: bool) -> bool:
    return file.stem == stem or (numbered and bool(re.fullmatch(rf"{re.escape(stem)}-{_NUMBER}", file.stem)))


def _check_digest(data: bytes, expected: str, file: Path) -> None:
    found = digest(data)
    if found != expected:
        raise ManifestError(f"{file} has the digest {found[:16]}..., not that of its name; put its backup back")
