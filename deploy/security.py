"""Certificates, users and passwords of a secured local broker, made once by openssl into its folder."""

import hashlib
import secrets
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

from schemas.access import ACCESS
from schemas.errors import StackError

ADMINISTRATOR = "admin"
USERS = (ADMINISTRATOR, *ACCESS)
BROKER = "foreshock-broker"
_ITERATIONS = 8_192
_DAYS = "3650"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Security:
    """What a secured broker and its clients need; `make` writes it, all other paths lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.certificate = folder / "broker.pem"
        self.keystore = folder / "broker-store.pem"

    def make(self) -> None:
        """Write what is not there; raises StackError where there is no openssl."""
        if self.keystore.exists():
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, request, names = self.folder / "ca.key", self.folder / "broker.csr", self.folder / "broker.ext"
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        broker_key = self.folder / "broker.key"
        _openssl("req", "-x509", *_CURVE, "-keyout", key, "-out", self.ca, "-days", _DAYS, "-subj", "/CN=foreshock-ca")
        _openssl("req", *_CURVE, "-keyout", broker_key, "-out", request, "-subj", f"/CN={BROKER}")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", key, "-CAcreateserial",
            "-out", self.certificate, "-days", _DAYS, "-extfile", names,
        )  # fmt: skip
        for user in USERS:
            _write_secret(self.password_file(user), secrets.token_urlsafe(24))
            exports = (f"export {name}='{value}'\n" for name, value in self.client_environment(user).items())
            (self.folder / f"{user}.env").write_text("".join(exports))
        # The last to be written: its presence says that all the others are there.
        _write_secret(self.keystore, broker_key.read_text() + self.certificate.read_text())

    def password_file(self, user: str) -> Path:
        """Return the file that holds a user's password."""
        return self.folder / f"{user}.password"

    def client_environment(self, user: str) -> dict[str, str]:
        """Return the settings of a process that connects as `user`."""
        return {
            "FORESHOCK_KAFKA_SECURITY": "SASL_SSL",
            "FORESHOCK_KAFKA_MECHANISM": "SCRAM-SHA-512",
            "FORESHOCK_KAFKA_USER": user,
            "FORESHOCK_KAFKA_PASSWORD_FILE": str(self.password_file(user)),
            "FORESHOCK_KAFKA_CA": str(self.ca),
        }

    def scram_arguments(self) -> list[str]:
        """Return what `kafka-storage format` takes to know the users: salted, so that `ps` shows no password."""
        found = []
        for user in USERS:
            salt = secrets.token_bytes(24)
            password = self.password_file(user).read_text().encode()
            salted = hashlib.pbkdf2_hmac("sha512", password, salt, _ITERATIONS)
            said = f'name={user},iterations={_ITERATIONS},salt="{_text(salt)}",saltedpassword="{_text(salted)}"'
            found += ["--add-scram", f"SCRAM-SHA-512=[{said}]"]
        return found

    def properties(self) -> str:
        """Return the broker's properties; everybody else's rules are set by `foreshock topics allow`."""
        store = (
            f"PEM\nssl.keystore.location={self.keystore}\nssl.truststore.type=PEM\nssl.truststore.location={self.ca}"
        )
        return (
            f"ssl.keystore.type={store}\n"
            "sasl.enabled.mechanisms=SCRAM-SHA-512\n"
            "sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512\n"
            "listener.name.clients.scram-sha-512.sasl.jaas.config="
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{ADMINISTRATOR}" password="{self.password_file(ADMINISTRATOR).read_text()}";\n'
            # Only the broker itself, by its certificate, reaches its controller.
            "listener.name.controller.ssl.client.auth=required\n"
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
            "allow.everyone.if.no.acl.found=false\n"
            f"super.users=User:{ADMINISTRATOR};User:CN={BROKER}\n"
        )


def _text(value: bytes) -> str:
    return b64encode(value).decode()


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _openssl(*arguments: str | Path) -> None:
    if shutil.which("openssl") is None:
        raise StackError(
            "a secured stack needs openssl for its certificates.\nInstall it (Debian: apt install openssl)."
        )
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise StackError(f"openssl {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
