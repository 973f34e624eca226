"""What a field name claims, so that a client cannot claim it (reference cases 17 and 41-43).

Names are compared folded (`field_names.py`). No names of credentials here: those are the operator's.
"""

from sidecar.field_names import fold

# By these a client could have its method changed behind the one that was judged (reference case 42).
METHOD_OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))

# By these a proxy in front tells who the client is: its address, the host that it asked for, a user whom it has
# authenticated, or a certificate that it has checked (reference cases 41-43). `X-Auth-Token` and `X-Auth-Key` are not
# among them: clients send those.
CLIENT_FIELDS = frozenset(
    b"forwarded x-real-ip x-host x-original-host x-client-ip client-ip true-client-ip x-cluster-client-ip"
    b" cf-connecting-ip fastly-client-ip x-envoy-external-address x-arr-clientcert x-userinfo"
    b" x-goog-iap-jwt-assertion".split()
)
CLIENT_PREFIXES = tuple(
    b"x-forwarded remote- x-remote- ssl-client- x-ssl-client- x-client-cert x-client-dn x-client-verify client-cert"
    b" x-auth-request- x-auth-user x-auth-email x-auth-group x-auth-role x-auth-name x-auth-subject"
    b" x-authenticated- x-webauth- oidc-claim- x-ms-client-principal x-ms-token-aad- x-goog-authenticated-user-"
    b" x-amzn-oidc- x-amzn-mtls- x-authentik- x-pomerium- cf-access- tailscale-user- x-consumer-".split()
)

# What nobody may write in another spelling, not even a trusted peer. Of the other names that only a trusted peer may
# send, the spelling with `_` is the usual one of some proxies (`OIDC_CLAIM_sub`).
_ONE_SPELLING = METHOD_OVERRIDES | frozenset(
    b"content-length content-type transfer-encoding keep-alive set-cookie http2-settings script-name x-script-name"
    b" path-info x-real-ip".split()
)
_ONE_SPELLING_PREFIXES = (
    b"x-forwarded",
    b"proxy-",
    b"remote-",
    b"ssl-client-",
    b"x-original-",
    b"x-rewrite-",
    b"sec-websocket-",
)


def is_about_client(name: bytes) -> bool:
    """Whether only a trusted peer may send this (lower-case) name."""
    folded = fold(name)
    return folded in CLIENT_FIELDS or folded.startswith(CLIENT_PREFIXES)


def is_ambiguous(name: bytes) -> bool:
    """Whether a lower-case name, folded, is one that frames, routes or identifies (reference case 17)."""
    folded = fold(name)
    return folded != name and (folded in _ONE_SPELLING or folded.startswith(_ONE_SPELLING_PREFIXES))
