"""Where the application listens, whom it trusts, how long a session lasts. Refused before a socket is opened, if unsafe."""

import ipaddress
from pathlib import Path

from pydantic import Field, PositiveInt, model_validator

from sae.config import Settings
from sae.errors import UserError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


class WebConfig(Settings, frozen=True):
    """Everything the server is told at its start."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8765, ge=0, le=65535, description="Port; 0 takes a free one.")
    names: tuple[str, ...] = Field(
        default=(), description="Host names people reach it by, where it is not this machine's loopback."
    )
    tls_certificate: Path | None = Field(default=None, description="PEM file with the certificate chain.")
    tls_key: Path | None = Field(default=None, description="PEM file with its private key.")
    proxy_addresses: tuple[str, ...] = Field(
        default=(), description="Addresses of the reverse proxies that end TLS in front of it."
    )
    proxy_user_header: str | None = Field(
        default=None, description="Header in which a declared proxy names who signed in at the hospital's own provider."
    )
    proxy_secret: str | None = Field(
        default=None, repr=False, description="What the proxy must send as `X-ClinLens-Proxy` for that header to count."
    )
    requires_totp: bool = Field(default=False, description="Whether one must have set up one-time codes to go on.")
    title: str = Field(default="ClinLens", description="What stands at the top of pages.")
    max_body_bytes: PositiveInt = Field(default=1 << 20, description="Largest body of a request.")
    requests_per_minute: PositiveInt = Field(default=600, description="Of one address, before it must wait.")
    sign_ins_per_minute: PositiveInt = Field(default=10, description="Tries of one address, before it must wait.")

    @model_validator(mode="after")
    def is_whole(self) -> "WebConfig":
        """A certificate comes with its key, a header with the secret that makes it trustworthy."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise UserError("one of --tls-cert and --tls-key was given, expected both. Give the other one too.")
        for address in self.proxy_addresses:
            is_address(address)
        if self.proxy_user_header and not (self.proxy_secret and self.proxy_addresses):
            raise UserError(
                "--proxy-user-header without a declared proxy and its secret, expected both: otherwise anybody could "
                "send it. Give --behind-proxy ADDRESS and --proxy-secret FILE."
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK_NAMES

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach it by HTTPS."""
        return self.tls_certificate is not None or bool(self.proxy_addresses)

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; on loopback without TLS it holds the port, which cookies do not tell apart."""
        return "__Host-clinlens" if self.is_secure else f"clinlens-{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """Names that a request may be addressed to."""
        own = () if self.host in ("0.0.0.0", "::") else (self.host,)  # noqa: S104 - compared, not bound
        return frozenset(LOOPBACK_NAMES) | frozenset(name.lower() for name in (*self.names, *own))

    def refuse_open_door(self) -> None:
        """Says no to passwords and evidence over plain HTTP.

        Raises:
            UserError: Other machines can reach it, and neither TLS nor a proxy that ends it was named.
        """
        if not self.is_loopback and not self.is_secure:
            raise UserError(
                f"--host {self.host} can be reached from other machines without TLS, expected loopback or HTTPS. Give "
                "--tls-cert and --tls-key, or --behind-proxy ADDRESS of the proxy that ends TLS."
            )


def is_address(text: str) -> str:
    """The text, if it is an IP address.

    Raises:
        UserError: It is not.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise UserError(
            f"--behind-proxy {text!r} is no IP address, expected the address the proxy connects from. Give that one."
        ) from error
    return text
