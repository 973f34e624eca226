"""The commands `inject` and `webhook` as processes: files, pipes, exit codes, and never a traceback."""

import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from bench_certificates import Authority
from kube_pods import FOLDER

INTRANET = FOLDER / "manifests/intranet.yaml"
CONFIG = """
upstream: {url: "http://127.0.0.1:${APP_PORT}"}
providers: [{issuer: https://idp.example.com, client_id: app}]
session: {credentials: [{cookie: sid}], bind: [{from: token_endpoint, callback: /callback}]}
"""


def call(*arguments: object, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "sidecar", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, timeout=30, check=False)


def write(folder: Path, text: str, name: str = "sidecar.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_it_is_a_filter_as_helm_wants_its_post_renderer(tmp_path: Path) -> None:
    result = call("inject", "-f", "-", "--config", write(tmp_path, CONFIG), given=INTRANET.read_bytes())
    kinds = [each["kind"] for each in yaml.safe_load_all(result.stdout) if each]
    assert (result.returncode, kinds) == (0, ["Deployment", "Service", "ConfigMap"])
    assert b"standard input: document 1: Deployment/intranet: the sidecar stands before port 8000" in result.stderr
    assert b"what was revoked is forgotten" in result.stderr  # SQLite, the default


def test_the_defaults_can_be_set() -> None:
    result = call("inject", "-f", INTRANET, "--set", "image=example/x:9", "--set", "mode=classic")
    assert b"image: example/x:9" in result.stdout
    assert b"preStop" in result.stdout


def test_a_refusal_names_file_document_workload_reason_and_next_step(tmp_path: Path) -> None:
    file = write(tmp_path, INTRANET.read_text().replace("initContainers:", "hostNetwork: true\n      initContainers:"))
    result = call("inject", "-f", file)
    assert (result.returncode, result.stdout) == (1, b"")
    line = result.stderr.decode()
    assert line.startswith(f"logout-sidecar: {file}: document 1: Deployment/intranet: hostNetwork ")
    assert line.endswith("set it to false (host_network)\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-f", "/nonexistent.yaml"], 1, "No such file"),
        (["-f", "/"], 1, "directory"),
        (["-f", INTRANET, "--set", "image"], 1, "(bad_usage)"),
        (["-f", INTRANET, "--set", "imgae=x"], 1, "did you mean logout-sidecar.io/image? (unknown_annotation)"),
        (["-f", INTRANET, "--set", "mode=none"], 1, "native or classic (bad_annotation)"),
        (["-f", INTRANET, "--config", "x", "--patch"], 1, "(bad_usage)"),
        (["-f", INTRANET, "--config", "/nonexistent"], 78, "the file does not exist"),
        (["-f", INTRANET, "--workload", "Deployment/x"], 1, "(unknown_workload)"),
        ([], 2, "-f"),
    ],
)
def test_what_cannot_be_done_is_a_line_and_an_exit_code(arguments: list[object], code: int, said: str) -> None:
    result = call("inject", *arguments)
    assert (result.returncode, result.stdout) == (code, b"")
    assert said in result.stderr.decode()
    assert b"Traceback" not in result.stderr


def test_bytes_that_are_no_text_are_refused() -> None:
    result = call("inject", "-f", "-", given=b"a: \xff\n")
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"byte 3 is not UTF-8" in result.stderr


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ("listne: 1", 78, b"did you mean listen?"),
        ("listen: 127.0.0.1:4180", 1, b"(not_reachable)"),
        ("listen: unix:/run/a.sock", 1, b"(not_reachable)"),
        ("ops: {listen: 127.0.0.1:4181}", 1, b"(not_reachable)"),
        (
            "store: {secret: {file: /run/secrets/only/in-the-pod}}",
            0,
            b"store.secret.file: the secret file does not exist",
        ),
        ("store: {secret: {env: ONLY_IN_THE_POD}}", 0, b"the pod looks again"),
        ("store: {secret: {file: /run/secrets/none}, grcae: 1s}", 78, b"did you mean grace?"),
    ],
)
def test_the_configuration_is_checked_as_far_as_it_can_be_here(
    tmp_path: Path, more: str, code: int, said: bytes
) -> None:
    result = call("inject", "-f", INTRANET, "--config", write(tmp_path, f"{CONFIG}{more}\n"))
    assert result.returncode == code
    assert said in result.stderr
    assert bool(result.stdout) == (code == 0)


def test_the_config_map_holds_the_file_as_it_is(tmp_path: Path) -> None:
    result = call("inject", "-f", INTRANET, "--config", write(tmp_path, CONFIG))
    *_, config_map = yaml.safe_load_all(result.stdout)
    assert config_map["data"] == {"sidecar.yaml": CONFIG}


def readiness(port: int, authority: Authority) -> int:
    context = ssl.create_default_context(cafile=str(authority.file))
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_webhook_is_ready_until_sigterm_and_then_drains(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue(tmp_path)
    command = [sys.executable, "-P", "-m", "sidecar", "webhook", "--listen", "127.0.0.1:0", "--tls-cert", certificate]
    with subprocess.Popen([*command, "--tls-key", key], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if b"webhook_started" in line)
        port = int(yaml.safe_load(line)["listen"].rpartition(" ")[2].rstrip(")"))
        try:
            assert readiness(port, authority) == 200
            process.send_signal(signal.SIGTERM)
            seen = (readiness(port, authority) for _ in range(1000))
            assert next(status for status in seen if status != 200) == 503
        finally:
            process.kill()  # the rest of the drain takes seconds, and is tested where its length can be given


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"], b"/nonexistent"),
        (["--tls-cert", os.devnull, "--tls-key", os.devnull], b"(bad_certificate)"),
        (["--tls-cert", "a", "--tls-key", "b", "--listen", "unix:/x"], b"(bad_usage)"),
        (["--tls-cert", "a", "--tls-key", "b", "--listen", "8443"], b"(bad_usage)"),
        (["--tls-cert", "a", "--tls-key", "b", "--set", "port=1"], b"(unknown_annotation)"),
    ],
)
def test_a_webhook_that_cannot_start_says_why(arguments: list[str], said: bytes) -> None:
    result = call("webhook", *arguments)
    assert result.returncode == 1
    assert said in result.stderr
    assert b"Traceback" not in result.stderr
