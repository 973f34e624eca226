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
from sidecar.config.load import Loaded, load_all
from sidecar.config.problem import ConfigErrors
from sidecar.config.reload import compare, named
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
    check.add_argument("--against", metavar="FILE", help="say what of a change from this file needs a restart")
    check.add_argument("--format", choices=("text", "json"), default="text", help="how to say it (default: text)")

    commands.add_parser("schema", help="print the JSON Schema of the configuration file")

    health = commands.add_parser("health", help="ask a running sidecar whether it is well; exits 0 or 1")
    health.add_argument(
        "--url", metavar="URL", default="http://127.0.0.1:4181/livez", help="default: %(default)s; /readyz is the other"
    )

    end = commands.add_parser("provider-logout", help="end one session at the provider, by the API that is configured")
    end.add_argument("-c", "--config", metavar="FILE", required=True, help="the configuration file (YAML)")
    end.add_argument("--account", metavar="ID", required=True, help="the account at the provider")
    end.add_argument("--session", metavar="ID", required=True, help="the session there; the sid of the ID token")

    inject = commands.add_parser("inject", help="put the sidecar into Kubernetes manifests")
    inject.add_argument(
        "-f", "--filename", metavar="FILE", required=True, help="the manifests (YAML); - is standard input"
    )
    inject.add_argument("--config", metavar="FILE", help="the sidecar's configuration, to add as a ConfigMap")
    inject.add_argument(
        "--workload", metavar="KIND/NAME", action="append", default=[], help="one that is not annotated"
    )
    inject.add_argument("--patch", action="store_true", help="print a kustomize component instead of the manifests")

    webhook = commands.add_parser("webhook", help="put the sidecar into pods as Kubernetes makes them")
    webhook.add_argument("--listen", metavar="HOST:PORT", default="0.0.0.0:8443", help="default: %(default)s")
    webhook.add_argument("--tls-cert", metavar="FILE", required=True, help="certificate chain (PEM); read again")
    webhook.add_argument("--tls-key", metavar="FILE", required=True, help="its private key (PEM)")
    for command in (inject, webhook):
        text = "a default for all pods, named as in the annotations: image=..., mode=classic, ..."
        command.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help=text)

    demo = commands.add_parser("demo", help="a provider, an app and the sidecar on loopback, to look at")
    demo.add_argument("--check", action="store_true", help="play login and logout, print the timeline, exit 0 or 1")
    return parser


def _dispatch(options: argparse.Namespace) -> int:
    match options.command:
        case "run":
            return _run(options.config)
        case "check-config":
            check = _check_as_json if options.format == "json" else _check
            return check(options.config, options.against)
        case "schema":
            print(json.dumps(json_schema(), indent=2))
            return EXIT_OK
        case "health":
            return _health(options.url)
        case "provider-logout":
            return _provider_logout(options)
        case "inject":
            return _inject(options)
        case "webhook":
            return _webhook(options)
        case _:
            return _demo(check=options.check)


def _run(path: str) -> int:
    loaded = load_all(path)
    from sidecar.app.serve import run  # noqa: PLC0415 - check-config and schema start without the servers' libraries

    return run(loaded)


def _health(url: str) -> int:
    from sidecar.control.health import problem  # noqa: PLC0415 - as above

    found = problem(url)
    if found is not None:
        print(f"logout-sidecar: {url}: {found}", file=sys.stderr)
    return EXIT_OK if found is None else EXIT_FAILED


def _provider_logout(options: argparse.Namespace) -> int:
    config = load_all(options.config).config
    from sidecar.app.provider_logout import end_by_hand  # noqa: PLC0415 - as above

    verdict = end_by_hand(config.logout.after_app_logout.strivacity, options.account, options.session)
    print(verdict.text, file=sys.stdout if verdict.is_done else sys.stderr)
    return EXIT_OK if verdict.is_done else EXIT_FAILED


def _inject(options: argparse.Namespace) -> int:
    from sidecar.kube import command  # noqa: PLC0415 - no other command needs it

    report = command.injected(
        options.filename,
        values=options.set,
        workloads=options.workload,
        config=options.config,
        as_patch=options.patch,
    )
    sys.stdout.buffer.write(report.output.encode())
    for line in (*report.notes, *(f"{problem} ({problem.reason})" for problem in report.problems)):
        print(f"logout-sidecar: {line}", file=sys.stderr)
    return EXIT_FAILED if report.problems else EXIT_OK


def _webhook(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415 - as above

    from sidecar import log, metrics  # noqa: PLC0415 - as above
    from sidecar.app.certificate import Certificate  # noqa: PLC0415 - as above
    from sidecar.app.process import stop_signal  # noqa: PLC0415 - as above
    from sidecar.app.sockets import listening  # noqa: PLC0415 - as above
    from sidecar.control.server import runner  # noqa: PLC0415 - as above
    from sidecar.kube import command, webhook  # noqa: PLC0415 - as above

    defaults = command.defaults_of(options.set)
    address = command.address_of(options.listen)
    log.configure("info", "json", on_drop=metrics.log_lines_dropped.inc)
    certificate = Certificate(certificate=options.tls_cert, key=options.tls_key, client_ca=None, min_version="1.2")

    async def serve() -> None:
        await webhook.serve(
            listener=listener, certificate=certificate, runner=runner, defaults=defaults, stopping=stop_signal()
        )

    with listening(address, "--listen") as listener:
        asyncio.run(serve())
    return EXIT_OK


def _demo(*, check: bool) -> int:
    from sidecar.demo.command import run_demo  # noqa: PLC0415 - no other command needs the demo

    return run_demo(check=check)


def _check(path: str, against: str | None) -> int:
    loaded = load_all(path)
    for warning in loaded.warnings:
        print(f"warning: {warning.render()}", file=sys.stderr)
    print(f"{path}: ok")
    if against is not None:
        changed = _changed(load_all(against), loaded)
        print(f"taken over by a reload: {', '.join(changed['reloaded']) or 'nothing'}")
        print(f"needs a restart: {', '.join(changed['needs_restart']) or 'nothing'}")
        if changed["needs_restart"]:
            print("a running sidecar refuses the whole file until it is restarted")
    return EXIT_OK


def _changed(before: Loaded, after: Loaded) -> dict[str, list[str]]:
    change = compare(before.config, after.config)
    return {"reloaded": named(change.taken_over), "needs_restart": named(change.needs_restart)}


def _check_as_json(path: str, against: str | None) -> int:
    try:
        loaded = load_all(path)
        changed = None if against is None else _changed(load_all(against), loaded)
        report, code = _report(path, loaded) | ({} if changed is None else {"changed": changed}), EXIT_OK
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
