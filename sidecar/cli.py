"""The command line: what a person, a container and a CI job call. No configuration, no logic, no traceback.

Exit codes: 0 done, 1 the command failed, 2 wrong usage (argparse), 78 the configuration is wrong (EX_CONFIG of
sysexits.h), 130 interrupted. Results go to standard output; problems go to standard error.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from sidecar import __version__
from sidecar.config.load import Loaded, load, load_all
from sidecar.config.problem import ConfigErrors
from sidecar.config.schema import json_schema
from sidecar.errors import SidecarError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = _dispatch(options)
        sys.stdout.flush()  # a full disk or a closed pipe shows here, not after the last handler
    except ConfigErrors as errors:
        print(_as_text(errors), file=sys.stderr)
        return EXIT_CONFIG
    except SidecarError as error:
        print(f"logout-sidecar: {error} ({error.reason})", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # `logout-sidecar schema | head`
        _forget_output()
        return EXIT_FAILED
    except OSError as error:
        print(f"logout-sidecar: {error}", file=sys.stderr)
        _forget_output()
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return code


def _forget_output() -> None:
    """Standard output cannot be written; without this the interpreter complains about the rest of it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="logout-sidecar",
        description="OpenID Connect back-channel logout for applications that cannot be changed.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="serve")
    check = commands.add_parser("check-config", help="say everything that is wrong with a configuration file")
    for command in (run, check):
        command.add_argument("-c", "--config", metavar="FILE", required=True, help="the configuration file (YAML)")
    check.add_argument("--format", choices=("text", "json"), default="text", help="how to say it (default: text)")

    commands.add_parser("schema", help="print the JSON Schema of the configuration file")

    demo = commands.add_parser("demo", help="a provider, an app and the sidecar on loopback, to look at")
    demo.add_argument("--check", action="store_true", help="play login and logout, print the timeline, exit 0 or 1")
    return parser


def _dispatch(options: argparse.Namespace) -> int:
    match options.command:
        case "run":
            return _run(options.config)
        case "check-config":
            return _check_as_json(options.config) if options.format == "json" else _check(options.config)
        case "schema":
            print(json.dumps(json_schema(), indent=2))
            return EXIT_OK
        case _:
            return _demo(check=options.check)


def _run(path: str) -> int:
    config = load(path)
    from sidecar.app.serve import run  # noqa: PLC0415 - check-config and schema start without the servers' libraries

    return run(config)


def _demo(*, check: bool) -> int:
    from sidecar.demo.command import run_demo  # noqa: PLC0415 - no other command needs the demo

    return run_demo(check=check)


def _check(path: str) -> int:
    loaded = load_all(path)
    for warning in loaded.warnings:
        print(f"warning: {warning.render()}", file=sys.stderr)
    print(f"{path}: ok")
    return EXIT_OK


def _check_as_json(path: str) -> int:
    try:
        report, code = _report(path, load_all(path)), EXIT_OK
    except ConfigErrors as errors:
        report, code = _report(path, errors), EXIT_CONFIG
    print(json.dumps(report, indent=2))
    return code


def _report(path: str, result: Loaded | ConfigErrors) -> dict[str, object]:
    loaded = result if isinstance(result, Loaded) else None
    errors = result.problems if isinstance(result, ConfigErrors) else ()
    return {
        "file": path,
        "ok": loaded is not None,
        "errors": [problem.as_json() for problem in errors],
        "warnings": [problem.as_json() for problem in loaded.warnings] if loaded else [],
        "variables": list(loaded.variables) if loaded else [],  # names only: values may be secret
    }


def _as_text(errors: ConfigErrors) -> str:
    count = len(errors.problems)
    rendered = "\n".join(problem.render() for problem in errors.problems)
    return f"{rendered}\n{count} error{'s' if count != 1 else ''}"
