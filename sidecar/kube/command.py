"""What the commands `inject` and `webhook` are told: texts in, values out. Reads files, prints nothing."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic_core import PydanticCustomError

from sidecar.config.address import TcpAddress, parse_listen
from sidecar.kube.embed import applied, embedded
from sidecar.kube.outcome import Refused, quoted
from sidecar.kube.settings import DEFAULTS, Settings, configured
from sidecar.kube.stream import Report, transform

_MAX_BYTES: Final = 32 * 1024 * 1024  # a chart of all charts


def defaults_of(values: Sequence[str]) -> Settings:
    """The settings that `--set NAME=VALUE` asks for. Raises Refused."""
    pairs = [value.partition("=") for value in values]
    for (name, equals, _), value in zip(pairs, values, strict=True):
        if not equals or not name:
            raise Refused("bad_usage", f"--set {quoted(value)}: write NAME=VALUE")
    return configured(DEFAULTS, {name: text for name, _, text in pairs})


def injected(
    filename: str, *, values: Sequence[str], workloads: Sequence[str], config: str | None, as_patch: bool
) -> Report:
    """The whole command. Raises Refused, ConfigErrors, OSError."""
    if as_patch and config is not None:
        text = "--patch prints changes only, and no ConfigMap; let kustomize make it (configMapGenerator)"
        raise Refused("bad_usage", text)
    settings = defaults_of(values)
    configuration = embedded(config) if config is not None else None
    if configuration is not None:
        settings = applied(settings, configuration)
    text, name = _read(filename)
    report = transform(text, file=name, defaults=settings, chosen=workloads, embedded=configuration, as_patch=as_patch)
    notes = (*(configuration.notes if configuration else ()), *report.notes)
    return Report(report.output, notes, report.problems)


def _read(filename: str) -> tuple[str, str]:
    name = "standard input" if filename == "-" else filename
    if filename == "-":
        data = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        with Path(filename).open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise Refused("too_large", f"{name}: larger than {_MAX_BYTES // 1024 // 1024} MiB; split it")
    try:
        return data.decode(), name  # no translation of line breaks: what is not ours leaves as it came
    except UnicodeDecodeError as error:
        raise Refused("not_utf8", f"{name}: byte {error.start} is not UTF-8; save it as UTF-8") from None


def address_of(text: str) -> TcpAddress:
    """Where the webhook listens. Raises Refused."""
    try:
        address = parse_listen(text)
    except PydanticCustomError as error:
        raise Refused("bad_usage", f"--listen {quoted(text)}: {error.message()}; write HOST:PORT") from None
    if not isinstance(address, TcpAddress):
        raise Refused("bad_usage", "--listen: the API server needs a port; write HOST:PORT")
    return address
