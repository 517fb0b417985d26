"""Encrypting a stream under a passphrase: scrypt makes the key, AES-256-GCM seals pieces of 1 MiB.

    "CLENC1\\n" · salt (16) · nonce prefix (7) · pieces: length (4, big-endian) · sealed piece

A piece's nonce is the prefix, its number and whether it is the last, as in the STREAM construction, so that no piece can
be dropped, repeated, exchanged or cut off without notice.

Source: Hoang, Reyhanitabar, Rogaway and Vizár 2015, "Online authenticated-encryption and its nonce-reuse
misuse-resistance"; scrypt's N = 2^17, r = 8, p = 1 from OWASP's password storage cheat sheet.
"""

import os
from io import RawIOBase
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sae.errors import UserError

MAGIC = b"CLENC1\n"
PIECE = 1 << 20
SALT, PREFIX, LENGTH = 16, 7, 4


def sealer(passphrase: str, salt: bytes) -> AESGCM:
    """The cipher of a passphrase."""
    return AESGCM(Scrypt(salt=salt, length=32, n=1 << 17, r=8, p=1).derive(passphrase.encode()))


def nonce(prefix: bytes, number: int, *, is_last: bool) -> bytes:
    """12 bytes, each used once."""
    return prefix + number.to_bytes(4, "big") + bytes([is_last])


class Writer(RawIOBase):
    """Encrypts what is written to it; `finish` writes the last piece."""

    def __init__(self, raw: IO[bytes], passphrase: str) -> None:
        self.raw = raw
        salt, self.prefix = os.urandom(SALT), os.urandom(PREFIX)
        self.cipher = sealer(passphrase, salt)
        self.waiting = bytearray()
        self.number = 0
        raw.write(MAGIC + salt + self.prefix)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.waiting += data
        while len(self.waiting) > PIECE:
            self.put(bytes(self.waiting[:PIECE]), is_last=False)
            del self.waiting[:PIECE]
        return len(data)

    def put(self, piece: bytes, *, is_last: bool) -> None:
        """Seals one piece."""
        sealed = self.cipher.encrypt(nonce(self.prefix, self.number, is_last=is_last), piece, None)
        self.raw.write(len(sealed).to_bytes(LENGTH, "big") + sealed)
        self.number += 1

    def finish(self) -> None:
        """Seals what is left as the last piece."""
        self.put(bytes(self.waiting), is_last=True)


class Reader(RawIOBase):
    """Decrypts a stream of `Writer`.

    Raises:
        UserError: The passphrase is wrong, or the stream was changed.
    """

    def __init__(self, raw: IO[bytes], passphrase: str) -> None:
        self.raw = raw
        raw.read(len(MAGIC))
        self.cipher = sealer(passphrase, raw.read(SALT))
        self.prefix = raw.read(PREFIX)
        self.number = 0
        self.is_done = False
        self.waiting = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        while not self.is_done and (size < 0 or len(self.waiting) < size):
            self.waiting += self.next_piece()
        taken = self.waiting if size < 0 else self.waiting[:size]
        self.waiting = self.waiting[len(taken) :]
        return taken

    def next_piece(self) -> bytes:
        """Opens one piece."""
        sealed = self.raw.read(int.from_bytes(self.raw.read(LENGTH), "big"))
        for is_last in (False, True):
            try:
                piece = self.cipher.decrypt(nonce(self.prefix, self.number, is_last=is_last), sealed, None)
            except InvalidTag:
                continue
            self.number += 1
            self.is_done = is_last
            return piece
        raise UserError(
            "The passphrase is another one or the backup was changed, expected both as they were. Try again."
        )
