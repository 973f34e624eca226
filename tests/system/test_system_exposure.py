"""An app that answers at the address of the pod: what the operator is shown. The pod's address is 127.0.0.2 here."""

import json
import socket
from pathlib import Path

import pytest
import requests
from bench_process import wait_for
from bench_workers import Pod

POD_IP = "127.0.0.2"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("is_exposed", [True, False])
def test_the_operator_is_told(tmp_path: Path, workers: int, is_exposed: bool) -> None:
    pod = Pod(tmp_path, workers=workers)
    pod.sidecar.env["POD_IP"] = POD_IP
    port = pod.app.server_port
    with socket.socket() as elsewhere:
        if is_exposed:
            elsewhere.bind((POD_IP, port))
            elsewhere.listen()
        with pod:
            said = "upstream_exposed" if is_exposed else "upstream_not_exposed"
            wait_for(lambda: f'"event": "{said}"' in pod.sidecar.output(), said)
            lines = [json.loads(line) for line in pod.sidecar.output().splitlines() if said in line]
            assert [line["address"] for line in lines] == [f"{POD_IP}:{port}"]  # once, by one of the processes
            assert pod.sidecar.metric('logout_sidecar_upstream_exposed{accepted="false"}') == is_exposed
            verbose = requests.get(f"{pod.sidecar.ops}/readyz?verbose", timeout=5)
            assert verbose.status_code == 200  # it warns, and serves
            failed = f"[-]exposure failed: the app also answers at {POD_IP}:{port}, past the sidecar"
            assert (failed if is_exposed else "[+]exposure ok") in verbose.text


def test_without_the_address_nobody_looks(tmp_path: Path) -> None:
    pod = Pod(tmp_path, workers=1)
    pod.sidecar.env.pop("POD_IP", None)
    with pod:
        assert "exposure" not in requests.get(f"{pod.sidecar.ops}/readyz?verbose", timeout=5).text
        assert "upstream_" not in pod.sidecar.output()
