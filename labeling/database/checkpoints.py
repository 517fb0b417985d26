"""Checkpoints: the length and last hash of every chain, signed, in a file that should lie on another machine.

A chain shows what was changed in it, but not that its end was cut off, nor that all of it was written anew by somebody
who can compute hashes. A checkpoint does: it cannot be made without the key (Ed25519), which is not in the database.
"""

import base64
import json
import os
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, select

from labeling.database import audit, schema
from labeling.database.transaction import PROGRAM, now
from labeling.identifiers import canonical
from sae import artefact
from sae.errors import UserError


class Checkpoint(NamedTuple):
    """A chain at a moment."""

    project_id: str
    seq: int
    """Number of its last event."""
    hash: str
    at: str


def new_key(path: Path) -> Path:
    """Makes a key, readable by its owner alone, and its public half beside it (`.pub`), which suffices to verify.

    Raises:
        UserError: There is a file of that name.
    """
    if path.exists():
        raise UserError(
            f"{path} exists, expected a new name, since older checkpoints need their key. Choose another one."
        )
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    artefact.write_bytes(path, private, artefact.PRIVATE)
    half = path.with_name(path.name + ".pub")
    artefact.write_bytes(half, public)
    return half


def write(conn: Connection, path: Path, key_file: Path) -> list[Checkpoint]:
    """Appends a checkpoint of every chain to a file, signed, and on disk when this returns.

    Args:
        conn: Of `Database.write`: that it was done is remembered, in each chain after the event that it holds.
        path: A file outside the database, best on another machine.
        key_file: A private key (`new_key`).
    """
    key = serialization.load_pem_private_key(read_key(key_file), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{key_file} is no Ed25519 key, expected one of `new_key`. Give that one.")
    chains = conn.execute(select(schema.audit_event.c.project_id).distinct()).scalars().all()
    marks = [Checkpoint(chain, *audit.head(conn, chain), now(conn)) for chain in sorted(chains)]
    lines = [canonical({**mark._asdict(), "signature": sign(key, mark)}) + "\n" for mark in marks]
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    for mark in marks:
        audit.append(
            conn, mark.project_id, PROGRAM, "checkpoint_written", f"chain:{mark.project_id}", detail={"seq": mark.seq}
        )
    return marks


def sign(key: Ed25519PrivateKey, mark: Checkpoint) -> str:
    """A checkpoint's signature."""
    return base64.b64encode(key.sign(canonical(mark._asdict()).encode())).decode()


def read(path: Path, key_file: Path | None) -> list[Checkpoint]:
    """The checkpoints of a file, each with a valid signature.

    Raises:
        UserError: There is no key, or a line is malformed or signed by another key.
    """
    if key_file is None:
        raise UserError(f"{path} is given without a key, expected the one it was signed with. Give the .pub file.")
    key, marks = public_half(key_file), []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            fields = json.loads(line)
            signature = base64.b64decode(fields.pop("signature"))
            mark = Checkpoint(**fields)
            key.verify(signature, canonical(mark._asdict()).encode())
        except (ValueError, KeyError, TypeError, InvalidSignature) as error:
            raise UserError(
                f"Line {number} of {path} is malformed or signed by another key, expected checkpoints of this key. Distrust it; "
                "fetch the copy on the other machine."
            ) from error
        marks.append(mark)
    return marks


def public_half(key_file: Path) -> Ed25519PublicKey:
    """The public key of a private or public file."""
    data = read_key(key_file)
    try:
        key = serialization.load_pem_public_key(data)
    except ValueError:
        private = serialization.load_pem_private_key(data, None)
        key = private.public_key() if isinstance(private, Ed25519PrivateKey) else None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{key_file} is no Ed25519 key, expected one of `new_key`. Give that one.")
    return key


def read_key(path: Path) -> bytes:
    """A key file's bytes.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}), expected a key. Check the path.") from error
