"""What a Redis address says, and that nothing else passes for one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.stores.interface import StoreUnusable
from sidecar.stores.redis_address import HOSTS, Host, parse


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"kind": "single", "hosts": (("h", 6379),), "database": 0, "tls": False}),
        ("redis://h:1/3", {"hosts": (("h", 1),), "database": 3}),
        ("redis://h?db=4", {"database": 4}),
        ("redis://[::1]:7", {"hosts": (("::1", 7),)}),
        ("rediss://h", {"tls": True}),
        ("redis://u%40x:p%2Fw@h", {"username": "u@x", "password": "p/w"}),
        ("redis://:p:w@h", {"username": None, "password": "p:w"}),
        ("redis://u@h", {"username": "u", "password": None}),
        (
            "rediss://h?ssl_ca_certs=/a&ssl_certfile=/b&ssl_keyfile=/c",
            {"ca_file": "/a", "certificate": "/b", "key": "/c"},
        ),
        ("unix:///run/r.sock", {"kind": "unix", "hosts": (), "path": "/run/r.sock"}),
        ("unix://u:p@/run/a%20b.sock?db=2", {"path": "/run/a b.sock", "username": "u", "password": "p", "database": 2}),
        (
            "redis+sentinel://u:p@a,b:5/my-master.1/3?min_other_sentinels=2",
            {
                "kind": "sentinel",
                "hosts": (("a", 26379), ("b", 5)),
                "master": "my-master.1",
                "database": 3,
                "min_other_sentinels": 2,
                "username": "u",
            },
        ),
        ("rediss+sentinel://a/m", {"kind": "sentinel", "tls": True, "master": "m", "database": 0}),
        ("redis+cluster://a,b:5", {"kind": "cluster", "hosts": (("a", 6379), ("b", 5))}),
        ("rediss+cluster://a/0", {"kind": "cluster", "tls": True}),
    ],
)
def test_an_address_is_taken_apart(url, expected):
    found = parse(url)

    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "redis", "redis:", "redis:/h", "http://h", "REDIS://h", "redis+sentinels://h/m"),
        *("redis://", "redis://:1", "redis://h:0", "redis://h:65536", "redis://h:x", "redis://a,b", "redis://[::1"),
        *("redis://h/x", "redis://h/1/2", "redis://h/123456", "redis://h/1#x", "redis://h?db=x", "redis://h?db=1&db=2"),
        *("redis://h?socket_timeout=9", "redis://h?ssl_ca_certs=/a", "rediss://h?ssl_cert_reqs=none", "rediss://h?x"),
        *("unix://", "unix://h/p", "unix:///", "unix:///p/", "unix:///p?db=-1"),
        *("redis+sentinel://a", "redis+sentinel://a/", "redis+sentinel://a/m/x", "redis+sentinel:///m"),
        *("redis+sentinel://a,/m", "redis+sentinel://a/m m", "redis+sentinel://a/m?min_other_sentinels=x"),
        *("redis+cluster://", "redis+cluster://a/1", "redis+cluster://a?db=0", "redis+cluster://a,,b"),
        "redis+cluster://" + ",".join(["a"] * (HOSTS + 1)),
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(StoreUnusable):
        parse(url)


@pytest.mark.parametrize(
    "url",
    ["redis://:gehe?im@h", "redis://:gehe/im@h", "redis://:gehe#im@h", "redis://:geheim@h/x", "rediss://h?geheim@"],
)
def test_no_part_of_a_password_is_repeated(url):
    with pytest.raises(StoreUnusable) as caught:
        parse(url)

    assert not any(part in str(caught.value) for part in ("geheim", "gehe", "im@"))


@given(
    st.sampled_from(["redis://", "unix://", "redis+sentinel://", "rediss+cluster://", ""]),
    st.text(alphabet=string.ascii_letters + string.digits + ":/?#@[],.%=&-_ \x00é", max_size=60),
)
def test_any_text_is_an_address_or_a_clear_refusal(scheme, text):
    try:
        found = parse(scheme + text)
    except StoreUnusable as error:
        assert error.reason in {"store_url_invalid", "store_scheme_unsupported"}  # noqa: PT017 - either way is right
    else:
        assert found.hosts or found.path
        assert all(host.name and 0 < host.port < 65536 for host in found.hosts)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_user_and_password_never_show(username, password):
    from urllib.parse import quote

    url = f"redis+cluster://{quote('U-' + username, safe='')}:{quote('P-' + password, safe='')}@h"
    found = parse(url)

    assert (found.username, found.password, found.hosts) == ("U-" + username, "P-" + password, (Host("h", 6379),))
    assert "P-" + password not in repr(found) + str(found)
