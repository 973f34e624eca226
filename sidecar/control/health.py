"""The other side of the ops listener: ask it once, as a container's health check does.

Plain HTTP to an address that the operator names. No proxies, no redirects, no configuration, nothing kept: one GET,
and what is wrong with the answer.
"""

import http.client
from urllib.parse import urlsplit

_TIMEOUT_S = 2.0


def problem(url: str, *, timeout_s: float = _TIMEOUT_S) -> str | None:
    """What is wrong, in a few words; None when the answer is 200."""
    try:
        status = _status(url, timeout_s)
    except OSError as error:
        return f"no answer: {error}"
    except (ValueError, http.client.InvalidURL):  # no URL at all, or a port that is none
        return "not an address such as http://127.0.0.1:4181/livez"
    except http.client.HTTPException:
        return "the answer is not HTTP"
    return None if status == 200 else f"answered {status}"


def _status(url: str, timeout_s: float) -> int:
    address = urlsplit(url)
    if address.scheme != "http" or not address.hostname:
        raise ValueError(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout_s)
    try:
        connection.request("GET", address._replace(scheme="", netloc="", fragment="").geturl() or "/")
        return connection.getresponse().status
    finally:
        connection.close()
