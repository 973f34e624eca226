"""Single values: durations, sizes, addresses, URLs, networks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from sidecar.config.address import (
    StoreUrl,
    TcpAddress,
    UnixAddress,
    UpstreamUrl,
    is_loopback,
    parse_listen,
    parse_network,
    parse_store,
    parse_upstream,
)
from sidecar.config.load import load_all
from sidecar.config.values import format_duration, parse_duration, parse_size

ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text()))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("5m", 300), ("12h", 43200), ("1d", 86400), ("250ms", 0.25), ("0s", 0), ("1.5s", 1.5)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "10", "s", "10 s", "-1s", "10S", "1h30m", "1e3s", ".5s", "٣s", "1" * 10 + "s", 10, 1.5, True, None, []],
)
def test_what_is_not_a_duration_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(value)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = parse_duration(f"{milliseconds}ms" if milliseconds < 10**9 else "1000000s")
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@pytest.mark.parametrize(
    ("seconds", "text"), [(43200.0, "12h"), (60.0, "1m"), (1.5, "1500ms"), (86400.0, "1d"), (90.0, "90s"), (0.0, "0s")]
)
def test_a_duration_is_written_in_its_largest_exact_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "size"), [("64KiB", 65536), ("1MiB", 1 << 20), (4096, 4096), ("4096", 4096), ("7B", 7)]
)
def test_a_size_is_bytes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["64KB", "64k", "-1", -1, 1.5, True, "", "KiB", None, "1" * 13])
def test_what_is_not_a_size_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_size(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:4180", TcpAddress("0.0.0.0", 4180)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("unix:/run/a.sock", UnixAddress("/run/a.sock")),
        ("unix:///run/a.sock", UnixAddress("/run/a.sock")),
    ],
)
def test_an_address_to_listen_on_is_parsed(text: str, address: object) -> None:
    assert parse_listen(text) == address
    assert parse_listen(str(parse_listen(text))) == address


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "4180",
            ":4180",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "host:99999",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[x]:1",
        ),
        *(
            "1.2.3:80",
            "1.2.3.256:80",
            "a b:1",
            "http://h:1",
            "unix:",
            "unix:rel",
            "unix:/",
            "unix:/" + "a" * 200,
            "h:-1",
        ),
        *(4180, None, True, ["::1"], {"a": 1}),
    ],
)
def test_what_is_not_an_address_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_listen(value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8080", UpstreamUrl("http", TcpAddress("127.0.0.1", 8080))),
        ("http://app", UpstreamUrl("http", TcpAddress("app", 80))),
        ("https://app/", UpstreamUrl("https", TcpAddress("app", 443))),
        ("http://[::1]:8080", UpstreamUrl("http", TcpAddress("::1", 8080))),
        ("unix:/run/app.sock", UpstreamUrl("http", UnixAddress("/run/app.sock"))),
    ],
)
def test_an_upstream_is_parsed(text: str, url: UpstreamUrl) -> None:
    assert parse_upstream(text) == url


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "app:8080",
            "ftp://app",
            "http:///x",
            "http:app",
            "http://",
            "http://a:b@app",
            "http://app/path",
            "http://app?",
        ),
        *(
            "http://app#",
            "http://app:0",
            "http://app:x",
            "http://a,b",
            "http://app\\x",
            "http://[::1",
            "http://a b",
            1,
            None,
        ),
    ],
)
def test_what_is_not_an_upstream_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_upstream(value)


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ("sqlite://", "sqlite", None),
        ("sqlite:///:memory:", "sqlite", None),
        ("sqlite:////var/lib/x.db", "sqlite", "/var/lib/x.db"),
        ("sqlite:///x.db", "sqlite", "x.db"),
        ("redis://h:6379/0", "redis", None),
        ("redis://h/?db=3", "redis", None),
        ("rediss://user:pw@h", "redis", None),
        ("unix:///run/redis.sock?db=1", "redis", None),
        ("redis+sentinel://a:26379,b:26379/main/0", "redis", None),
        ("rediss+cluster://a:1,[::1]:2", "redis", None),
    ],
)
def test_a_store_is_parsed(text: str, kind: str, path: str | None) -> None:
    url = parse_store(text)
    assert (url.kind, url.path, url.url) == (kind, path, text)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "redis",
            "redis:",
            "redis://",
            "redis://a,b",
            "redis://h:x",
            "redis://h/zz",
            "redis://h/0/1",
            "redis://h/0#x",
            "sqlite:",
            "sqlite://var/x.db",
            "sqlite:////dir/",
        ),
        *(
            "redis://h/?protocol=3",
            "redis://a_b..c",
            "redis+sentinel://a:26379",
            "redis+cluster://a:1/2",
            "mysql://h",
            "/var/x.db",
            "redis://a b",
            1,
            None,
        ),
    ],
)
def test_what_is_not_a_store_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_store(value)


def test_the_password_of_a_store_is_not_shown() -> None:
    url = parse_store("redis://user:hunter2@h")
    assert "hunter2" not in repr(url) + str(url)
    assert isinstance(url, StoreUrl)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1.example.com", "localhost.example.com", "0.0.0.0", "10.0.0.1", "", "::"])
def test_what_can_leave_the_machine_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("value", ["10.0.0.1/8", "x", "", "10.0.0.0/33", "fe80::%eth0/64", 10, None])
def test_what_is_not_a_network_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_network(value)


@given(ANYTHING)
def test_no_value_breaks_a_parser(value: object) -> None:
    for parse in (parse_duration, parse_size, parse_listen, parse_upstream, parse_store, parse_network):
        try:
            parse(value)
        except PydanticCustomError:
            continue


@given(st.from_regex(r"https?://[\[\]:@a-z0-9.%?#/\\]{0,30}", fullmatch=True))
def test_no_url_breaks_the_parser(url: str) -> None:
    try:
        assert parse_upstream(url).scheme in {"http", "https"}
    except PydanticCustomError:
        assert True


APP_PATHS = [
    ("[/logout]", [("/logout", (), ())]),
    ("[{path: /x}]", [("/x", (), ())]),
    ("[/a, {path: /b, methods: [POST], status: 302}]", [("/a", (), ()), ("/b", ("POST",), (302,))]),
    ("[{path: /b, status: [204, 303]}]", [("/b", (), (204, 303))]),
]


@pytest.mark.parametrize(("text", "expected"), APP_PATHS)
def test_a_logout_path_is_a_path_or_has_conditions(write, base, text, expected) -> None:
    config = load_all(write(f"{base}logout: {{app_paths: {text}}}\n")).config
    assert [(each.path, each.methods, each.status) for each in config.logout.app_paths] == expected


@pytest.mark.parametrize("text", ["[logout]", "[{path: logout}]", "[7]", "[{}]", "[{path: /x, status: 99}]", "/logout"])
def test_what_is_no_logout_path_is_told_with_its_place(problems, base, text) -> None:
    (problem,) = problems(f"{base}logout: {{app_paths: {text}}}\n")
    assert "logout.app_paths" in problem.path
    assert problem.mark.line == 7
