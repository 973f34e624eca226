"""How app servers tell header fields apart: which names are one and the same to them.

CGI-like servers turn a name into a variable: upper case, and everything that is neither letter nor digit becomes `_`.
`X_Forwarded_For`, `X.Forwarded.For` and `X-Forwarded-For` are one variable there (reference case 17), so names are
compared folded. What a name claims is for `http1/names.py` to say, and which names carry a session for the operator.
"""

_ALPHANUMERIC = b"0123456789abcdefghijklmnopqrstuvwxyz"
_PLAIN = _ALPHANUMERIC + b"-"
_FOLD = bytes(code if code in _ALPHANUMERIC or code >= 0x80 else ord("-") for code in range(256))


def fold(name: bytes) -> bytes:
    """The name as CGI-like servers tell names apart, with `-` where they have `_`. `name` is in lower case."""
    return name.translate(_FOLD)


def is_odd(name: bytes) -> bool:
    """Whether a lower-case name is another one after folding."""
    return bool(name.translate(None, _PLAIN))
