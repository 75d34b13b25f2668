"""Real servers for tests: Debian's docker-registry in several set-ups, a token server, tinyproxy. All on loopback.

Each is a context manager; all registries of a run may share one storage directory, filled by `push`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import random
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from .lying import CANARY, Answer, Lying, Seen

USER = "user"


@dataclass(frozen=True)
class Pushed:
    """What `push` put there: raw manifest bytes and blobs by digest."""

    repository: str
    tag: str
    manifest: bytes
    media_type: str
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.manifest).hexdigest()


@dataclass(frozen=True)
class Files:
    """A certificate with its key and authority, as PEM files."""

    authority: Path
    certificate: Path
    key: Path


# this machine's own name leads to an address of its own, but does not look like one: for what loopback is exempt from
NAME = socket.gethostname()


def free_port() -> int:
    """One that nobody listens at, of those that the kernel gives to nobody who does not ask for a certain one: tests
    beside this one would get it before the program that it is for is up."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def docker_registry(
    folder: Path,
    storage: Path,
    *,
    auth: Any = None,
    tls: Files | None = None,
    client_ca: Path | None = None,
    named: bool = False,
) -> Iterator[str]:
    """Debian's registry over `storage`; yields `127.0.0.1:port`, or `NAME:port` with `named`.

    `auth` is the `auth` part of its configuration."""
    port = free_port()
    address = socket.gethostbyname(NAME) if named else "127.0.0.1"
    web: dict[str, Any] = {"addr": f"{address}:{port}"}
    if tls:
        web["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
        if client_ca:
            web["tls"]["clientcas"] = [str(client_ca)]
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": web,
    }
    if auth:
        settings["auth"] = auth
    file = folder / f"registry-{port}.yml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    with _running(["/usr/bin/docker-registry", "serve", str(file)], port, address):
        yield f"{NAME if named else address}:{port}"


@contextlib.contextmanager
def tinyproxy(folder: Path, *, login: str = "") -> Iterator[str]:
    """Debian's tinyproxy; yields `127.0.0.1:port`. `login` is `user:password` that it wants. Its log is
    `tinyproxy-<port>.log` in `folder`."""
    port = free_port()
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 50", "LogLevel Connect"]
    lines += [f'LogFile "{folder}/tinyproxy-{port}.log"', "Allow 127.0.0.1"]
    if login:
        lines.append("BasicAuth " + login.replace(":", " ", 1))
    file = folder / f"tinyproxy-{port}.conf"
    file.write_text("\n".join(lines) + "\n")
    with _running(["/usr/bin/tinyproxy", "-d", "-c", str(file)], port):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: list[str], port: int, address: str = "127.0.0.1") -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                said = process.stderr.read().decode() if process.stderr and process.poll() is not None else ""
                raise RuntimeError(f"{command[0]} did not start: {said[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)
        if process.stderr:
            process.stderr.close()


def push(host: str, repository: str, tag: str, layers: list[bytes]) -> Pushed:
    """An OCI image of such layers (any bytes) into a plain registry without authentication."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    blobs = {"sha256:" + hashlib.sha256(content).hexdigest(): content for content in (config, *layers)}
    names = list(blobs)
    layer_type = "application/vnd.oci.image.layer.v1.tar"
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": names[0], "size": len(config)},
        "layers": [{"mediaType": layer_type, "digest": name, "size": len(blobs[name])} for name in names[1:]],
    }
    raw = json.dumps(manifest, indent=1).encode()
    for digest, content in blobs.items():
        location = _send(host, "POST", f"/v2/{repository}/blobs/uploads/", b"", "").headers["Location"]
        parts = urlsplit(location)
        _send(host, "PUT", f"{parts.path}?{parts.query}&digest={digest}", content, "application/octet-stream")
    _send(host, "PUT", f"/v2/{repository}/manifests/{tag}", raw, str(manifest["mediaType"]))
    return Pushed(repository, tag, raw, str(manifest["mediaType"]), blobs)


def _send(host: str, method: str, target: str, body: bytes, media_type: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(method, target, body, {"Content-Type": media_type} if media_type else {})
        answer = connection.getresponse()
        if answer.status not in (201, 202):
            raise RuntimeError(f"{method} {target}: {answer.status} {answer.read()[:300]!r}")
        answer.read()
        return answer
    finally:
        connection.close()


@dataclass
class Authority:
    """A private certificate authority in a directory."""

    folder: Path

    def __post_init__(self) -> None:
        self._ca = trustme.CA()
        self.file = self.folder / f"ca-{uuid.uuid4().hex[:8]}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, **more: Any) -> Files:
        made = self._ca.issue_cert(*names, **more)
        stem = self.folder / uuid.uuid4().hex[:8]
        files = Files(self.file, stem.with_suffix(".cert"), stem.with_suffix(".key"))
        made.private_key_pem.write_to_path(str(files.key))
        for index, pem in enumerate(made.cert_chain_pems):
            pem.write_to_path(str(files.certificate), append=index > 0)
        return files

    def server(self, *names: str, client_ca: Path | None = None, ask: bool = False, **more: Any) -> ssl.SSLContext:
        """A server's context; with `client_ca` clients may (with `ask`) or must show a certificate of that one."""
        files = self.issue(*names, **more)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL if ask else ssl.CERT_REQUIRED
        return context


class TokenServer:
    """Gives tokens that docker-registry believes: JWTs signed with ES256 by a key it knows the certificate of.

    Users: `user` with the canary password by Basic, or the refresh token `refresh-<canary>` by POST; anonymous
    clients are refused unless `anonymous`. `asked` are the requests, `life` the seconds a token holds.
    """

    def __init__(
        self, folder: Path, *, anonymous: bool = False, life: int = 300, tls: ssl.SSLContext | None = None
    ) -> None:
        self.issuer, self.service = "orlop-tests", "the registry"
        self.anonymous, self.life = anonymous, life
        self.bundle = folder / f"token-{uuid.uuid4().hex[:8]}.pem"
        self.failures: list[Answer] = []  # sent first, one a request
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _self_signed(self._key)
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.server = Lying(tls=tls)

    def __enter__(self) -> TokenServer:
        self.server.__enter__()
        self.server.on("/token", self._answer)
        return self

    def __exit__(self, *error: Any) -> None:
        self.server.__exit__(None, None, None)

    @property
    def realm(self) -> str:
        return f"{self.server.url}/token"

    @property
    def auth(self) -> dict[str, Any]:
        """The `auth` part of docker-registry's configuration."""
        words = {
            "realm": self.realm,
            "service": self.service,
            "issuer": self.issuer,
            "rootcertbundle": str(self.bundle),
        }
        return {"token": words}

    def _answer(self, request: Seen) -> Answer:
        if self.failures:
            return self.failures.pop(0)
        fields = parse_qs(request.body.decode() if request.method == "POST" else urlsplit(request.target).query)
        login = "Basic " + base64.b64encode(f"{USER}:{CANARY}".encode()).decode()
        known = request.header("authorization") == login or fields.get("refresh_token") == [f"refresh-{CANARY}"]
        if not known and not (self.anonymous and not request.header("authorization")):
            return Answer(401, b'{"details":"incorrect username or password"}')
        body = {"token": self.token(fields.get("scope", [])), "expires_in": self.life}
        if request.method == "POST":
            body = {"access_token": body["token"], "expires_in": self.life}
        return Answer(200, json.dumps(body).encode(), (("Content-Type", "application/json"),))

    def token(self, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":", 2)
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": USER, "aud": self.service, "exp": now + self.life, "nbf": now - 10}
        claims |= {"iat": now, "jti": uuid.uuid4().hex, "access": access}
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        signed = ".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_url64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    import datetime

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "orlop tests")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    day = datetime.timedelta(days=1)
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256())


def htpasswd(folder: Path) -> dict[str, Any]:
    """The `auth` part for Basic with the one user. The file has bcrypt, the only kind the registry takes."""
    file = folder / "htpasswd"
    file.write_text(f"{USER}:{_BCRYPT}\n")
    return {"htpasswd": {"realm": "tests", "path": str(file)}}


# bcrypt of CANARY, made once: nothing among our dependencies makes it
_BCRYPT = "$2b$04$.6WBxr0ucqw6Mi/MAynNXO8GsoAplAcRXqTosCn.CtnO05rEuRvyq"


def docker_config(folder: Path, host: str, *, password: str = CANARY, identity_token: str = "") -> Path:
    """A file as `docker login` writes it; returns its path."""
    entry = {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}
    if identity_token:
        entry = {
            "auth": base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode(),
            "identitytoken": identity_token,
        }
    file = folder / f"config-{uuid.uuid4().hex[:8]}.json"
    file.write_text(json.dumps({"auths": {host: entry}}))
    os.chmod(file, 0o600)
    return file
