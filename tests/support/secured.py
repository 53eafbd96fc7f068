"""Brokers that want to know whom they talk to: TLS, SCRAM, client certificates, ACLs, passwords.

Kafka listens in four ways: for everybody (who is a super user, for tests to set things up), for
users with a password, for clients with a certificate, and under the name of another host.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
import trustme
from aiokafka import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.processes import ROOT, Brokers, answers, free_ports, until

PASSWORD = "it's a p@ss:word/ 7%"
"""Has what some format or other gives a meaning."""
KEY_PASSWORD = "of the key"
PRINCIPAL = "CN=pagewake,OU=runs,O=example"
"""Of the client certificate."""
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"
RESOURCES = {"topic": 2, "group": 3}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6}
ALLOW = 3
ACLS = ROOT / "deploy/kafka/acls.toml"

needs_mosquitto_passwd = pytest.mark.skipif(
    not shutil.which("mosquitto_passwd"),
    reason="no mosquitto_passwd: install mosquitto from the distribution",
)


class Certificates:
    """Of an authority of the test's own, as files of PEM in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        self.authority = self._write("ca.pem", authority.cert_pem.bytes())
        self.stranger = self._write("stranger.pem", trustme.CA().cert_pem.bytes())
        self.server, self.server_key = self._issue("server", authority, "localhost", "127.0.0.1")
        self.elsewhere, self.elsewhere_key = self._issue("elsewhere", authority, "kafka.example")
        client = authority.issue_cert(
            "pagewake.example",
            common_name="pagewake",
            organization_name="example",
            organization_unit_name="runs",
        )
        self.client = self._write("client.pem", _chain(client))
        self.client_key = self._write("client.key", _key(client, NoEncryption()))
        encryption = BestAvailableEncryption(KEY_PASSWORD.encode())
        self.locked_key = self._write("client-locked.key", _key(client, encryption))

    def _issue(self, name: str, authority: trustme.CA, *hosts: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(*hosts)
        key = _key(issued, NoEncryption())
        return self._write(f"{name}.pem", _chain(issued)), self._write(f"{name}.key", key)

    def store(self, name: str, certificate: Path, key: Path) -> Path:
        """Key and certificate in one file, as Kafka takes them."""
        return self._write(name, key.read_bytes() + certificate.read_bytes())

    def _write(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content)
        return path


def _chain(issued: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in issued.cert_chain_pems)


def _key(issued: trustme.LeafCert, encryption: KeySerializationEncryption) -> bytes:
    """Kafka reads no other format of keys."""
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


class SecuredKafka(Brokers):
    """See the module; `kafka` is the listener for everybody."""

    def __init__(self, directory: Path, users: Iterable[str]) -> None:
        settings = directory / "secured.properties"
        accounts = directory / "users"
        super().__init__(directory, KAFKA_PROPERTIES=str(settings), KAFKA_USERS=str(accounts))
        self.certificates = Certificates(directory / "certificates")
        self.sasl, self.mtls, self.elsewhere = (f"127.0.0.1:{port}" for port in free_ports(3))
        settings.write_text(self._properties())
        accounts.write_text(
            "".join(f'SCRAM-SHA-512=[name={user},password="{PASSWORD}"]\n' for user in users)
        )

    def _properties(self) -> str:
        """What makes a Kafka ask who is there."""
        files = self.certificates
        listeners = {
            "PLAINTEXT": (self.kafka, "PLAINTEXT"),
            "SASL": (self.sasl, "SASL_SSL"),
            "MTLS": (self.mtls, "SSL"),
            "ELSEWHERE": (self.elsewhere, "SSL"),
        }
        places = ",".join(f"{name}://{place}" for name, (place, _) in listeners.items())
        kinds = ",".join(f"{name}:{kind}" for name, (_, kind) in listeners.items())
        controller = f"127.0.0.1:{int(self.kafka.rpartition(':')[2]) + 1}"
        own = files.store("server.store", files.server, files.server_key)
        wrong = files.store("elsewhere.store", files.elsewhere, files.elsewhere_key)
        return "\n".join(
            [
                f"listeners={places},CONTROLLER://{controller}",
                f"advertised.listeners={places}",
                f"listener.security.protocol.map={kinds},CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name=PLAINTEXT",
                "ssl.keystore.type=PEM",
                "ssl.truststore.type=PEM",
                f"ssl.keystore.location={own}",
                f"ssl.truststore.location={files.authority}",
                f"listener.name.elsewhere.ssl.keystore.location={wrong}",
                "listener.name.mtls.ssl.client.auth=required",
                "listener.name.sasl.sasl.enabled.mechanisms=SCRAM-SHA-512",
                f"listener.name.sasl.scram-sha-512.sasl.jaas.config={LOGIN} required;",
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users=User:ANONYMOUS",
                "",
            ]
        )

    def env(self, user: str, password: str = PASSWORD) -> dict[str, str]:
        """Settings of who logs in with a password."""
        return {
            "PAGEWAKE_KAFKA": self.sasl,
            "PAGEWAKE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "PAGEWAKE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "PAGEWAKE_KAFKA_USERNAME": user,
            "PAGEWAKE_KAFKA_PASSWORD": password,
            "PAGEWAKE_KAFKA_CAFILE": str(self.certificates.authority),
        }


class Acl(NamedTuple):
    """One operation on one resource, as Kafka keeps it."""

    type: str
    name: str
    pattern: str
    operation: str


def acls_of(role: str) -> list[Acl]:
    """Those of a role of `deploy/kafka/acls.toml`, one operation each."""
    rows: list[dict[str, Any]] = tomllib.loads(ACLS.read_text())[role]["acls"]
    return [
        Acl(row["type"], row["name"], row["patternType"], operation)
        for row in rows
        for operation in row["operations"]
    ]


class _Grant(CreateAclsRequest):  # type: ignore[misc]
    """The client's own request has room for one."""

    def __init__(self, rows: Sequence[tuple[object, ...]]) -> None:
        self._rows = rows

    def build(self, kind: Any) -> Any:
        """All of them."""
        return kind(list(self._rows))


async def grant(kafka: str, given: Iterable[tuple[str, Acl]]) -> None:
    """Users, or principals, and what each may do from now on."""
    rows = [
        (RESOURCES[acl.type], acl.name, PATTERNS[acl.pattern], f"User:{user}", "*",
         OPERATIONS[acl.operation], ALLOW)
        for user, acl in given
    ]  # fmt: skip
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    try:
        answer = await client.send(client.get_random_node(), _Grant(rows))
        assert [code for code, *_ in answer.creation_responses] == [0] * len(rows), answer
    finally:
        await client.close()


class SecuredMosquitto:
    """TLS, and a password for the user `pagewake`."""

    def __init__(self, directory: Path) -> None:
        self.certificates = Certificates(directory / "certificates")
        (port,) = free_ports(1)
        self.place = f"127.0.0.1:{port}"
        self._passwords = directory / "passwords"
        self._settings = directory / "mosquitto.conf"
        self._log = directory / "mosquitto.log"
        self._settings.write_text(
            f"user {getpass.getuser()}\n"
            f"listener {port} 127.0.0.1\n"
            "allow_anonymous false\n"
            f"password_file {self._passwords}\n"
            f"certfile {self.certificates.server}\n"
            f"keyfile {self.certificates.server_key}\n"
            "persistence false\n"
        )

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Until the end of the block."""
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", str(self._passwords), "pagewake", PASSWORD], check=True
        )
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with self._log.open("wb") as log:
            process = subprocess.Popen([program, "-c", str(self._settings)], stderr=log)
        try:
            until(lambda: answers(self.place), f"mosquitto answers at {self.place}")
            yield self
        finally:
            process.terminate()
            process.wait(30)
