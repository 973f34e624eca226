"""A certificate authority of the tests, and files as an operator mounts them."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Issues certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(_pem(self._sign(self._name, self._key.public_key(), days=1, is_ca=True)))

    def issue(
        self, folder: Path, name: str = "tls", *, days: float = 1, password: bytes | None = None
    ) -> tuple[str, str]:
        """NAME.crt and NAME.key in the folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, secret = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(_pem(self._sign(subject, key.public_key(), days=days, is_ca=False)))
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, lock))
        return str(certificate), str(secret)

    def client(self, pair: tuple[str, str] | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, with a certificate of its own or without."""
        context = ssl.create_default_context(cafile=str(self.file))
        if pair is not None:
            context.load_cert_chain(*pair)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: float, is_ca: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            self._name,
            subject,
            key,
            x509.random_serial_number(),
            now - dt.timedelta(days=2),
            now + dt.timedelta(days=days),
        )
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def server(pair: tuple[str, str]) -> ssl.SSLContext:
    """The other end, for tests of what a connection goes through and not of how files are read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
