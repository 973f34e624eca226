"""The certificate of the public listener: what is refused at the start, and how a new one takes its place."""

import asyncio
import logging
import os
import ssl
from pathlib import Path
from typing import Literal

import pytest
from bench_certificates import Authority

from sidecar import metrics
from sidecar.app.certificate import Certificate
from sidecar.app.sockets import CannotStart

Version = Literal["1.2", "1.3"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def opened(pair: tuple[str, str], client_ca: str | None = None, min_version: Version = "1.2") -> Certificate:
    return Certificate(certificate=pair[0], key=pair[1], client_ca=client_ca, min_version=min_version)


def reloads(result: str) -> float:
    return metrics.registry.get_sample_value("logout_sidecar_tls_certificate_reloads_total", {"result": result}) or 0


def expiry() -> float:
    return metrics.registry.get_sample_value("logout_sidecar_tls_certificate_expiry_timestamp_seconds") or 0


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends in memory, after the handshake."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends


def served(certificate: Certificate, authority: Authority) -> str:
    """The common name that a client sees."""
    subject = handshake(certificate.context(), authority.client())[0].getpeercert()["subject"]  # type: ignore[index]
    return str(dict(part[0] for part in subject)["commonName"])  # type: ignore[index,arg-type,misc]


def test_a_client_sees_the_certificate_and_speaks_http_1_1(authority: Authority, tmp_path: Path) -> None:
    certificate = opened(authority.issue(tmp_path, "one"))
    assert served(certificate, authority) == "one"
    client = authority.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert handshake(certificate.context(), client)[0].selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize(("least", "is_spoken"), [("1.2", True), ("1.3", False)])
def test_older_versions_than_the_least_are_not_spoken(
    authority: Authority, tmp_path: Path, least: Version, is_spoken: bool
) -> None:
    certificate = opened(authority.issue(tmp_path), min_version=least)
    client = authority.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    if is_spoken:
        assert handshake(certificate.context(), client)[0].version() == "TLSv1.2"
        return
    with pytest.raises(ssl.SSLError):
        handshake(certificate.context(), client)


def test_with_a_client_ca_only_its_clients_get_through(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    certificate = opened(authority.issue(tmp_path), client_ca=str(other.file), min_version="1.3")
    known = authority.client(other.issue(tmp_path, "known"))
    assert handshake(certificate.context(), known)[1].getpeercert()
    for client in (authority.client(), authority.client(authority.issue(tmp_path, "stranger"))):
        with pytest.raises(ssl.SSLError):
            handshake(certificate.context(), client)


def _missing(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return pair[0], str(folder / "nowhere.key"), None


def _missing_certificate(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return str(folder / "nowhere.crt"), pair[1], None


def _foreign(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return pair[0], authority.issue(folder, "other")[1], None


def _encrypted(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return (*authority.issue(folder, "locked", password=b"made up"), None)


def _swapped(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return pair[1], pair[0], None


def _no_key(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return pair[0], pair[0], None


def _no_ca(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return (*pair, pair[1])


def _missing_ca(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return (*pair, str(folder / "nowhere.ca"))


def _folder(pair: tuple[str, str], folder: Path, authority: Authority) -> tuple[str, str, str | None]:
    return str(folder), pair[1], None


FAULTS = [
    (_missing, "unreadable", r"tls\.key: .*nowhere\.key: No such file or directory"),
    (_missing_certificate, "unreadable", r"tls\.certificate: .*nowhere\.crt: No such file or directory"),
    (_folder, "unreadable", r"tls\.certificate: .*: Is a directory"),
    (_swapped, "bad_certificate", r"tls\.certificate: .*tls\.key: not a PEM certificate"),
    (_foreign, "key_mismatch", r"tls\.key: .*other\.key: not the key of .*tls\.crt"),
    (_encrypted, "encrypted_key", r"tls\.key: .*locked\.key: the key is encrypted"),
    (_no_key, "bad_key", r"tls\.key: .*tls\.crt: cannot be used with .*tls\.crt"),
    (_no_ca, "bad_client_ca", r"tls\.client_ca: .*tls\.key: not PEM certificates"),
    (_missing_ca, "unreadable", r"tls\.client_ca: .*nowhere\.ca: No such file or directory"),
]


@pytest.mark.parametrize(("make", "reason", "line"), FAULTS, ids=[make.__name__ for make, _, _ in FAULTS])
def test_what_cannot_be_served_ends_the_start_with_one_line(
    authority: Authority, tmp_path: Path, make, reason: str, line: str
) -> None:
    certificate, key, client_ca = make(authority.issue(tmp_path), tmp_path, authority)
    with pytest.raises(CannotStart, match=rf"^{line}[^\n]*$") as caught:
        opened((certificate, key), client_ca)
    assert caught.value.reason == reason


def mounted(folder: Path, version: str, authority: Authority) -> None:
    """As the kubelet does it: a new folder, and one symbolic link that is swapped in a single step."""
    (folder / version).mkdir()
    authority.issue(folder / version)
    link = folder / "..data_tmp"
    link.symlink_to(version)
    link.rename(folder / "..data")


@pytest.fixture
def volume(tmp_path: Path, authority: Authority) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted(folder, "..1", authority)
    for name in ("tls.crt", "tls.key"):
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def serial(certificate: Certificate, authority: Authority) -> object:
    return handshake(certificate.context(), authority.client())[0].getpeercert()["serialNumber"]  # type: ignore[index]


def test_a_swapped_secret_is_served_from_the_next_connection_on(volume: Path, authority: Authority) -> None:
    certificate = opened((str(volume / "tls.crt"), str(volume / "tls.key")))
    before, count = serial(certificate, authority), reloads("ok")
    certificate.refresh()
    assert (serial(certificate, authority), reloads("ok")) == (before, count)
    mounted(volume, "..2", authority)
    certificate.refresh()
    assert serial(certificate, authority) != before
    assert reloads("ok") == count + 1


@pytest.mark.parametrize("fault", ["key_mismatch", "unreadable", "bad_certificate"])
def test_a_pair_that_does_not_hold_leaves_the_last_good_one_and_is_complained_about_once(
    volume: Path, authority: Authority, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    certificate = opened((str(volume / "tls.crt"), str(volume / "tls.key")))
    before, count, until = serial(certificate, authority), reloads(fault), expiry()
    original = (volume / "tls.crt").read_bytes()
    if fault == "unreadable":
        (volume / "..data").unlink()
    else:
        (volume / "tls.crt").write_bytes(
            b"garbage" if fault == "bad_certificate" else Path(authority.issue(volume, "new")[0]).read_bytes()
        )
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            certificate.refresh()
    assert serial(certificate, authority) == before
    assert (reloads(fault), expiry()) == (count + 1, until)
    assert [record.message for record in caplog.records] == ["tls_certificate_refused"]
    assert "PRIVATE" not in caplog.text
    if fault == "unreadable":
        (volume / "..data").symlink_to("..1")
    (volume / "tls.crt").write_bytes(original)
    certificate.refresh()
    assert serial(certificate, authority) == before  # and it has recovered:
    mounted(volume, "..2", authority)
    certificate.refresh()
    assert serial(certificate, authority) != before


def test_the_metric_names_the_first_expiry_of_the_chain(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue(tmp_path, days=20)
    opened(pair)
    late = expiry()
    Path(pair[0]).write_bytes(Path(pair[0]).read_bytes() + authority.file.read_bytes())  # which expires in a day
    opened(pair)
    assert late - expiry() == pytest.approx(19 * 86400, abs=5)


async def test_the_files_are_looked_at_again_and_again(volume: Path, authority: Authority) -> None:
    certificate = opened((str(volume / "tls.crt"), str(volume / "tls.key")))
    watch = asyncio.create_task(certificate.watch(every=0.01))
    for version in ("..2", "..3"):
        before = serial(certificate, authority)
        mounted(volume, version, authority)
        async with asyncio.timeout(5):
            while serial(certificate, authority) == before:
                await asyncio.sleep(0.01)
    watch.cancel()
    await asyncio.wait({watch})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_may_not_be_read(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue(tmp_path)
    Path(pair[1]).chmod(0)
    with pytest.raises(CannotStart, match=r"tls\.key: .*Permission denied"):
        opened(pair)
