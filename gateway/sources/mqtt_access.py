"""Who may connect to the ingest endpoint: passwords, certificates, and how often an address may try.

Passwords are kept as scrypt hashes (RFC 7914). One verification is meant to be slow, so it runs on threads of its own,
and a password that was once right is remembered by a keyed digest: a fleet that returns after a cut of the network
must not wait for thousands of them a second time.

python -m gateway.sources.mqtt_access      asks for a password and prints its hash
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import getpass
import hashlib
import hmac
import os
import secrets
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.problems import BadInput, Problem
from gateway.sources.mqtt_options import Credential, EndpointOptions, TlsOptions
from gateway.sources.mqtt_packets import Reason

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 1
MAX_SCRYPT_BYTES = 64 * 1024 * 1024
VERIFYING_THREADS = max(1, (os.cpu_count() or 2) // 2)
"""Half of the machine at most: strangers who guess passwords must not stop the journal."""

MAX_VERIFYING = 5_000
"""Passwords that may wait for their verification; a client beyond them is told that the server is busy."""

MAX_REMEMBERED = 50_000
MAX_PEERS = 20_000


class Identity(Struct, frozen=True):
    """Who a client was found to be. `device_id` is what its credential binds, None where it binds nothing."""

    username: str | None = None
    device_id: str | None = None

    @property
    def owner(self) -> str:
        """Client ids belong to an owner, so that one device cannot take over another's session by its client id."""
        return self.device_id or self.username or ""


class _Hash(Struct, frozen=True):
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def fits(self, password: bytes) -> bool:
        return hmac.compare_digest(_scrypt(password, self.salt, self.n, self.r, self.p), self.digest)


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=MAX_SCRYPT_BYTES, dklen=32)


def hash_password(password: str, *, n: int = SCRYPT_N) -> str:
    """What `password_hash` holds: "scrypt$n$r$p$salt$digest", salt and digest in base64. `n` is the cost, a power of 2."""
    salt = secrets.token_bytes(16)
    digest = _scrypt(password.encode(), salt, n, SCRYPT_R, SCRYPT_P)
    parts = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$".join(("scrypt", str(n), str(SCRYPT_R), str(SCRYPT_P), *parts))


def _parse_hash(text: str) -> _Hash:
    """Raises ValueError for what `hash_password` cannot have made, or what costs more than `MAX_SCRYPT_BYTES`."""
    scheme, *numbers, salt, digest = text.split("$")
    if scheme != "scrypt" or len(numbers) != 3:
        raise ValueError("is no scrypt hash")
    n, r, p = (int(number) for number in numbers)
    try:
        found = _Hash(n, r, p, base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True))
    except binascii.Error as error:
        raise ValueError(f"is no scrypt hash: {error}") from error
    if len(found.digest) != 32 or min(n, r, p) < 1 or n & (n - 1) or n < 2 or 128 * r * (n + p) > MAX_SCRYPT_BYTES // 2:
        raise ValueError("is a scrypt hash of a cost that is not supported")
    return found


class _Known(Struct, frozen=True):
    """A credential made ready: a hash, or the digest of a password from the environment."""

    identity: Identity
    secret: _Hash | bytes


class _CredentialsFile(Struct, frozen=True, forbid_unknown_fields=True):
    credentials: tuple[Credential, ...] = ()


class Gatekeeper:
    """Decides who a client is. Raises BadInput for credentials that cannot be meant."""

    def __init__(self, options: EndpointOptions, where: str, environment: Mapping[str, str]) -> None:
        self._anonymous = options.anonymous
        self._key = secrets.token_bytes(32)
        self._known: dict[str, _Known] = {}
        self._remembered: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._verifying = 0
        self._threads = ThreadPoolExecutor(VERIFYING_THREADS, thread_name_prefix="mqtt-passwords")
        self._nobody = _Hash(SCRYPT_N, SCRYPT_R, SCRYPT_P, secrets.token_bytes(16), secrets.token_bytes(32))
        problems = self._learn(options.credentials, f"{where}.credentials", environment)
        if options.credentials_file is not None:
            listed, found = _read_credentials(Path(options.credentials_file), f"{where}.credentials_file")
            problems += found + self._learn(listed, f"{options.credentials_file}: credentials", environment)
        if problems:
            raise BadInput(problems)
        self._bound = {k.identity.device_id for k in self._known.values()}

    def _learn(self, credentials: tuple[Credential, ...], where: str, environment: Mapping[str, str]) -> list[Problem]:
        problems: list[Problem] = []
        for index, credential in enumerate(credentials):
            here = f"{where}[{index}]"
            if credential.username in self._known:
                problems.append(Problem(f"{here}.username", f"{credential.username!r} stands twice", "remove one"))
            secret = self._secret(credential, here, environment)
            if isinstance(secret, Problem):
                problems.append(secret)
                continue
            identity = Identity(credential.username, credential.device_id)
            self._known[credential.username] = _Known(identity, secret)
        return problems

    def _secret(self, credential: Credential, here: str, environment: Mapping[str, str]) -> _Hash | bytes | Problem:
        if (credential.password_hash is None) is (credential.password_env is None):
            return Problem(here, "has no password, or two", "give one of password_hash and password_env")
        if credential.password_hash is not None:
            try:
                return _parse_hash(credential.password_hash)
            except ValueError as error:
                return Problem(
                    f"{here}.password_hash", str(error), "make it with `python -m gateway.sources.mqtt_access`"
                )
        name = credential.password_env or ""
        if not environment.get(name):
            return Problem(f"{here}.password_env", f"the environment has no {name!r}", "set it before the start")
        return self._digest(environment[name].encode())

    def at_once(
        self, username: str | None, password: bytes | None, certificate: str | None
    ) -> Identity | Reason | None:
        """The answer where it costs nothing; None where the password must be verified by `verify`."""
        if username is None:
            if certificate is not None:
                return Identity(None, certificate)
            return Identity() if self._anonymous else Reason.NOT_AUTHORIZED
        known, given = self._known.get(username), password or b""
        if known is not None and isinstance(known.secret, bytes):
            fits = hmac.compare_digest(known.secret, self._digest(given))
            return known.identity if fits else Reason.BAD_CREDENTIALS
        if known is not None and (username, self._digest(given)) in self._remembered:
            return known.identity
        return Reason.SERVER_BUSY if self._verifying >= MAX_VERIFYING else None

    async def verify(self, username: str, password: bytes) -> Identity | Reason:
        """The answer, after the time that scrypt takes; an unknown user name costs the same as a wrong password."""
        known = self._known.get(username)
        secret = known.secret if known is not None and isinstance(known.secret, _Hash) else self._nobody
        self._verifying += 1
        try:
            fits = await asyncio.get_running_loop().run_in_executor(self._threads, secret.fits, password)
        finally:
            self._verifying -= 1
        if known is None or not fits:
            return Reason.BAD_CREDENTIALS
        self._remembered[username, self._digest(password)] = None
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return known.identity

    def device_of(self, identity: Identity, client_id: str) -> str | None:
        """Whose commands a client may take: its credential's device, else that of its client id, unless a credential
        binds that name to somebody else.
        """
        if identity.device_id is not None:
            return identity.device_id
        return None if client_id in self._bound else client_id

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _digest(self, password: bytes) -> bytes:
        """Keyed by a secret of this process: of use to nobody who reads it in a core dump."""
        return hashlib.blake2b(password, key=self._key, digest_size=32).digest()


def _read_credentials(path: Path, where: str) -> tuple[tuple[Credential, ...], list[Problem]]:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_CredentialsFile).credentials, []
    except OSError as error:
        return (), [Problem(where, f"{path}: {error.strerror}", "name a file that can be read")]
    except msgspec.DecodeError as error:  # of which ValidationError is one
        return (), [Problem(str(path), str(error), "write [[credentials]] with username and password_hash")]


def tls_context(options: TlsOptions, where: str) -> ssl.SSLContext:
    """TLS 1.2 or later with the configured files. Raises BadInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.cert, options.key)
    except (OSError, ssl.SSLError) as error:
        what = f"{options.cert} and {options.key} cannot be used: {error}"
        raise BadInput(
            [Problem(f"{where}.cert", what, "name a PEM certificate chain, and its key in `key`")]
        ) from error
    if options.client_ca is not None:
        try:
            context.load_verify_locations(options.client_ca)
        except (OSError, ssl.SSLError) as error:
            what = f"{options.client_ca} cannot be used: {error}"
            raise BadInput([Problem(f"{where}.client_ca", what, "name a PEM file of certificates")]) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def common_name(certificate: Mapping[str, object] | None) -> str | None:
    """The subject's common name of a certificate as `SSLSocket.getpeercert` gives it."""
    subject = (certificate or {}).get("subject")
    if not isinstance(subject, tuple):
        return None
    return next((value for names in subject for name, value in names if name == "commonName"), None)


class ConnectRate:
    """A bucket of connects per address, of the addresses seen last."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str, now_s: float) -> bool:
        left, since_s = self._left.pop(address, (float(self._burst), now_s))
        left = min(self._burst, left + (now_s - since_s) * self._per_s)
        allowed = left >= 1
        self._left[address] = (left - allowed, now_s)
        if len(self._left) > MAX_PEERS:
            self._left.popitem(last=False)
        return allowed


if __name__ == "__main__":
    print(hash_password(getpass.getpass()))
