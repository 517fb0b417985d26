"""The chat endpoint: what is sent, whom one may send it to, and what goes wrong there, in one sentence each."""

from pathlib import Path
from typing import Any

import pytest

from analysis.interpretation.config import InterpretConfig
from clinlens.interpret.endpoint import KEY_VARIABLE, MOST_BYTES, Endpoint, content, endpoint, is_loopback
from sae.errors import UserError
from tests.clinlens.interpret.answering import answering, said

CFG = InterpretConfig(timeout_s=5)
QUESTION = [{"role": "user", "content": "Which?"}]


def made(url: str, **more: Any) -> Endpoint:
    options = {"is_remote_allowed": False, "is_shareable": False} | more
    return endpoint(url, "tiny", None, CFG, **options)


def test_the_question_and_the_key_are_sent_and_the_answer_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret-1")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")  # not asked for loopback
    with answering(lambda _: said("fever")) as there:
        asked = made(there.url)
        assert asked.chat(QUESTION) == "fever"
    (body,) = there.asked
    assert (body["path"], body["model"], body["messages"], body["temperature"]) == (
        "/v1/chat/completions", "tiny", QUESTION, 0,
    )  # fmt: skip
    assert there.headers[0]["Authorization"] == "Bearer secret-1"
    assert "secret-1" not in repr(asked)


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with answering() as there:
        made(there.url).chat(QUESTION)
    assert "Authorization" not in there.headers[0]


def test_an_endpoint_that_nobody_runs_is_one_sentence():
    with answering() as there:
        pass  # its port is free again
    with pytest.raises(
        UserError, match=r"^The endpoint http://127\.0\.0\.1:\d+/v1 cannot be reached \(ConnectionRefusedError\)"
    ):
        made(there.url).chat(QUESTION)


def test_another_host_needs_leave_a_shareable_corpus_and_https():
    url = "http://models.example.org/v1"
    with pytest.raises(UserError, match="--allow-remote"):
        made(url, is_shareable=True)
    with pytest.raises(UserError, match=r"corpus\.shareable is false"):
        made(url, is_remote_allowed=True)
    with pytest.raises(UserError, match="expected https"):
        made(url, is_remote_allowed=True, is_shareable=True)
    assert made("https://models.example.org/v1", is_remote_allowed=True, is_shareable=True).model == "tiny"


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("192.168.0.1", False),
        ("10.0.0.1", False), ("127.0.0.1.example.org", False), ("localhost.example.org", False), ("", False),
    ],
)  # fmt: skip
def test_loopback_is_known_by_its_addresses(host: str, is_ours: bool):
    assert is_loopback(host) is is_ours


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "127.0.0.1:8000", "http://", "http://me:pw@127.0.0.1/v1", "http://127.0.0.1/v1?key=1"]
)
def test_what_is_no_plain_address_is_refused_and_not_repeated(url: str):
    with pytest.raises(UserError, match=r"^--endpoint is no plain") as raised:
        made(url)
    assert "pw" not in str(raised.value)


def test_a_redirect_is_not_followed():
    with answering() as other, answering(lambda _: (307, f"{other.url}/chat/completions".encode())) as there:
        with pytest.raises(UserError, match=r"HTTP 307.*not followed"):
            made(there.url).chat(QUESTION)
        assert other.asked == []


@pytest.mark.parametrize(
    ("code", "hint"), [(401, "key is missing or wrong"), (404, "--model"), (400, "no answer was given")]
)
def test_a_refusal_says_what_to_do_and_repeats_nothing_of_the_body(code: int, hint: str):
    with answering(lambda _: (code, b"patient text")) as there:
        with pytest.raises(UserError, match=f"HTTP {code}.*{hint}") as raised:
            made(there.url).chat(QUESTION)
        assert "patient" not in str(raised.value)
        assert len(there.asked) == 1


def test_a_busy_endpoint_is_asked_again():
    replies = iter([(503, b""), (429, b""), said("at last")])
    with answering(lambda _: next(replies)) as there:
        assert Endpoint(there.url, "tiny", CFG, pauses_s=(0.0, 0.0)).chat(QUESTION) == "at last"
    with answering(lambda _: (503, b"")) as there:
        with pytest.raises(UserError, match="HTTP 503"):
            Endpoint(there.url, "tiny", CFG, pauses_s=(0.0,)).chat(QUESTION)
        assert len(there.asked) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"\xff\xfe",
        b'{"choices": [{"message": "text"}]}', b"[" * 100_000, b" " * (MOST_BYTES + 1),
    ],
)  # fmt: skip
def test_what_has_no_text_in_it_is_an_empty_answer(data: bytes):
    assert content(data) == ""


def test_a_key_file_is_read_and_a_bad_one_refused(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text("abc\n")
    assert endpoint("http://[::1]/v1", "m", path, CFG, is_remote_allowed=False, is_shareable=False).key == "abc"
    path.write_text("a b")
    with pytest.raises(UserError, match="holds no key") as raised:
        endpoint("http://[::1]/v1", "m", path, CFG, is_remote_allowed=False, is_shareable=False)
    assert "a b" not in str(raised.value)
    with pytest.raises(UserError, match="cannot be read"):
        endpoint("http://[::1]/v1", "m", tmp_path, CFG, is_remote_allowed=False, is_shareable=False)
