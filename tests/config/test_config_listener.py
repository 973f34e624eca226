"""The settings of the public listener: TLS, the Unix socket's permissions, the balancer's header, who is trusted."""

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from sidecar.config.address import parse_trusted
from sidecar.config.load import load_all
from sidecar.config.values import parse_mode

if TYPE_CHECKING:
    from conftest import Problems

PAIR = "certificate: /tls.crt, key: /tls.key"

FAULTS = [
    ("listen: unix:/a\nlisten_mode: 660", "listen_mode", "expected octal digits in quotes"),
    ('listen: unix:/a\nlisten_mode: "0888"', "listen_mode", "not permissions"),
    ('listen: unix:/a\nlisten_mode: "04755"', "listen_mode", "not permissions"),
    ('listen_mode: "0660"', "listen_mode", "only a Unix socket has permissions"),
    ("tls: {certificate: /tls.crt}", "tls.certificate", "expected tls.key"),
    ("tls: {key: /tls.key}", "tls.key", "expected tls.certificate"),
    ("tls: {client_ca: /ca.crt}", "tls.client_ca", "without TLS nobody shows a certificate"),
    (f"tls: {{{PAIR}, min_version: '1.1'}}", "tls.min_version", "expected one of 1.2, 1.3"),
    (f"tls: {{{PAIR}, min_version: 1.3}}", "tls.min_version", ""),
    ("tls: on", "tls", "a section of keys"),
    ("proxy_protocol: v2", "proxy_protocol", "true or false"),
    ("proxy_protocol: true\ntrusted_proxies: []", "proxy_protocol", "no balancer is trusted"),
    ("trusted_proxies: [unxi]", "trusted_proxies[0]", "not a network"),
    ("listen: '[::]:4180'\nops: {listen: 0.0.0.0:4180}", "ops.listen", "two listeners on one address"),
    ("listen: '[::]:4180'\nops: {listen: 127.0.0.1:4180}", "ops.listen", "two listeners on one address"),
]

LEGAL = [
    'listen: unix:/a\nlisten_mode: "0660"',
    'listen: unix:/a\nlisten_mode: "600"',
    "listen: unix:/a\nlisten_mode: 0660",  # no number in YAML 1.2, so what stands there is meant
    f"tls: {{{PAIR}}}",
    f"tls: {{{PAIR}, client_ca: /ca.crt, min_version: '1.3'}}",
    "proxy_protocol: true",
    f"proxy_protocol: true\ntls: {{{PAIR}}}",
    "trusted_proxies: [unix]",
    "trusted_proxies: []",
    "listen: '[::1]:4180'\nops: {listen: 127.0.0.1:4180}",
]

WARNINGS = [
    ("listen: unix:/a\ntrusted_proxies: [10.0.0.0/8]", "the proxy before it is not believed"),
    ("listen: unix:/a\nproxy_protocol: true\ntrusted_proxies: [10.0.0.0/8]", "every connection is refused"),
]


@pytest.mark.parametrize(("text", "path", "words"), FAULTS)
def test_what_a_listener_cannot_be_is_found_once(
    problems: "Problems", base: str, text: str, path: str, words: str
) -> None:
    (problem,) = problems(base + text)
    assert problem.path == path
    assert words in problem.headline()


@pytest.mark.parametrize("text", LEGAL)
def test_what_a_listener_can_be_is_accepted_without_a_warning(
    write: Callable[[str], str], base: str, text: str
) -> None:
    assert load_all(write(base + text), {}).warnings == ()


@pytest.mark.parametrize(("text", "words"), WARNINGS)
def test_a_unix_socket_whose_peers_nobody_believes_is_a_warning(
    write: Callable[[str], str], base: str, text: str, words: str
) -> None:
    (warning,) = load_all(write(base + text), {}).warnings
    assert warning.path == "trusted_proxies"
    assert words in warning.headline()


def test_permissions_are_octal_and_shown_as_written(write: Callable[[str], str], base: str) -> None:
    config = load_all(write(base + 'listen: unix:/a\nlisten_mode: "660"'), {}).config
    assert config.listen_mode == 0o660
    assert config.model_dump(mode="json")["listen_mode"] == "0660"


@pytest.mark.parametrize("value", [0o660, 660, "", "66", "0x66", "rw-rw----", None, True, "1777", " 660"])
def test_what_are_not_permissions_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not permissions"):
        parse_mode(value)


def test_unix_is_a_word_and_everything_else_a_network() -> None:
    assert parse_trusted("unix") == "unix"
    assert parse_trusted("10.0.0.0/8") == ipaddress.ip_network("10.0.0.0/8")


def test_without_settings_loopback_and_the_unix_socket_are_trusted_and_there_is_no_tls(
    write: Callable[[str], str], base: str
) -> None:
    config = load_all(write(base), {}).config
    assert [str(peer) for peer in config.trusted_proxies] == ["127.0.0.0/8", "::1/128", "unix"]
    assert (config.tls.certificate, config.proxy_protocol, config.listen_mode) == (None, False, None)
