"""The certificate of the public listener: loaded, watched, replaced without a connection being dropped.

Mounted secrets change by a swap of symbolic links, which no watch on the file notices, so the content is compared every
few seconds (reference case 185). A new pair is tried in a context of its own before it is used; if it does not hold,
the last good one stays, and the log and a metric say why. Connections keep the context that they began with.

At the start the same faults end the process with one line that names the key and the file.
"""

import asyncio
import hashlib
import logging
import ssl
from pathlib import Path
from typing import Final, Literal

from cryptography import x509

from sidecar import log, metrics
from sidecar.app.sockets import CannotStart

_logger = logging.getLogger(__name__)

_EVERY: Final = 5.0  # seconds between two looks
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MISMATCH: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")  # OpenSSL's codes


class Certificate:
    """The TLS settings and what was last made of their files. Raises CannotStart."""

    def __init__(
        self, *, certificate: str, key: str, client_ca: str | None, min_version: Literal["1.2", "1.3"]
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._min_version = _VERSIONS[min_version]
        self._seen = self._fingerprint()  # before loading: what changes in between is loaded again
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        return self._context

    async def watch(self, every: float = _EVERY) -> None:
        """Look at the files from time to time, for ever; beside the event loop, because a mount may hang."""
        while True:
            await asyncio.sleep(every)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:  # a fault of ours: it must not end the watch
                _logger.exception("tls_watch_failed")

    def refresh(self) -> None:
        """Look once. A content that does not hold is complained about once."""
        seen = self._fingerprint()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._context = self._load()
        except CannotStart as error:
            metrics.tls_reloads.labels(error.reason).inc()
            log.event(_logger, logging.ERROR, "tls_certificate_refused", reason=error.reason, detail=str(error))
            return
        metrics.tls_reloads.labels("ok").inc()

    def _fingerprint(self) -> bytes:
        digest = hashlib.blake2b()
        for file in (self._certificate, self._key, self._client_ca):
            content = _content(file) if file else b""
            digest.update(b"%d:%b" % (len(content), content))
        return digest.digest()

    def _load(self) -> ssl.SSLContext:
        expires = self._first_expiry()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._min_version
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=self._no_password)
        except ssl.SSLError as error:
            raise self._wrong_pair(error) from None
        except OSError as error:
            raise _unreadable("tls.key", self._key, error) from None
        self._require_clients(context)
        metrics.tls_certificate_expiry.set(expires)
        log.event(_logger, logging.INFO, "tls_certificate_loaded", expires=int(expires))
        return context

    def _first_expiry(self) -> float:
        """When the first certificate of the chain expires, in seconds since the epoch."""
        try:
            chain = x509.load_pem_x509_certificates(Path(self._certificate).read_bytes())
        except OSError as error:
            raise _unreadable("tls.certificate", self._certificate, error) from None
        except ValueError:
            text = f"tls.certificate: {self._certificate}: not a PEM certificate"
            raise CannotStart("bad_certificate", text) from None
        return min(certificate.not_valid_after_utc.timestamp() for certificate in chain)

    def _no_password(self) -> str:
        """Asked for when the key is encrypted; without this, OpenSSL would ask at the terminal and wait."""
        raise CannotStart("encrypted_key", f"tls.key: {self._key}: the key is encrypted; it must not be")

    def _wrong_pair(self, error: ssl.SSLError) -> CannotStart:
        if error.reason in _MISMATCH:
            return CannotStart("key_mismatch", f"tls.key: {self._key}: not the key of {self._certificate}")
        code = (error.reason or "unknown").lower()
        return CannotStart("bad_key", f"tls.key: {self._key}: cannot be used with {self._certificate} ({code})")

    def _require_clients(self, context: ssl.SSLContext) -> None:
        if self._client_ca is None:
            return
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self._client_ca)
        except ssl.SSLError:
            text = f"tls.client_ca: {self._client_ca}: not PEM certificates"
            raise CannotStart("bad_client_ca", text) from None
        except OSError as error:
            raise _unreadable("tls.client_ca", self._client_ca, error) from None


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        return b"errno %d" % (error.errno or 0)  # being unreadable is a change as well


def _unreadable(key: str, file: str, error: OSError) -> CannotStart:
    return CannotStart("unreadable", f"{key}: {file}: {error.strerror}")
