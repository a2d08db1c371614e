"""`sound-monitor doctor` on webhooks and commands: what can't be told is known before there is an event."""

import asyncio
import ssl
import sys

import pytest
from mosquitto import Certificates, free_port

from monitor.config import Config
from monitor.doctor.hooks import look_at_hooks


def configured(**hooks: dict) -> Config:
    return Config.model_validate({"sources": {"room": {}}, "events": {"dog": "a dog barking"}, **hooks})


async def said(**hooks: dict) -> list[tuple[str, str]]:
    return [(each.verdict.value, each.line) async for each in look_at_hooks(configured(**hooks))]


async def told_of(url: str) -> tuple[str, str]:
    (only,) = await said(webhooks={"pager": {"url": url}})
    return only


@pytest.fixture
async def listening():
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_commands_are_looked_for_by_path_and_by_name(tmp_path):
    (tmp_path / "text").write_text("no program")
    problem = "is not there, or not for this user to run; install it, or mend the path"
    found = await said(
        commands={
            "well": {"run": [sys.executable, "-V"]},
            "named": {"run": ["sh"]},
            "missing": {"run": [str(tmp_path / "lampp"), "--blink"]},
            "closed": {"run": [str(tmp_path / "text")]},
        }
    )
    assert found == [
        ("ok", f"command well: {sys.executable} can be run"),
        ("ok", "command named: sh can be run"),
        ("failed", f"command missing: {tmp_path / 'lampp'} {problem}"),
        ("failed", f"command closed: {tmp_path / 'text'} {problem}"),
    ]


async def test_webhooks_are_reached_without_being_told_anything(listening):
    name = f"http://127.0.0.1:{listening}"
    assert await told_of(f"{name}/hook?key=s3cret") == ("ok", f"webhook pager: {name} can be reached")


async def test_a_webhook_that_can_not_be_reached_is_told_with_the_remedy(listening):
    unused = free_port()
    for url, cause in (
        (f"http://127.0.0.1:{unused}", "nothing listens there; check url and that the receiver runs"),
        ("http://no-such-host.invalid", "; check url and the network"),
        (f"http://{'a' * 70}.org", "its name is none; check url and the network"),
    ):
        verdict, line = await told_of(f"{url}/hook?key=s3cret")
        assert verdict == "failed"
        assert line.startswith(f"webhook pager: {url} can't be reached: ")
        assert line.endswith(cause)


async def test_a_webhook_that_does_not_answer_is_told_in_time(monkeypatch):
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("monitor.doctor.hooks._ANSWER_SECONDS", 0.01)
    monkeypatch.setattr("monitor.doctor.hooks.asyncio.open_connection", never)
    verdict, line = await told_of("http://127.0.0.1/")
    assert verdict == "failed"
    assert line.endswith("can't be reached: no answer within 0.01 s; check url, the network and the firewall")


@pytest.mark.real
async def test_a_webhooks_certificate_is_looked_at(tmp_path, monkeypatch):
    certificates = Certificates.make(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.server_key)
    async with await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context
    ) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        verdict, line = await told_of(url)
        assert verdict == "failed"
        assert line.endswith("; mend url, its certificate or this machine's authorities")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
        expected = f"webhook pager: {url} can be reached, and its certificate holds"
        assert await told_of(url) == ("ok", expected)


@pytest.mark.real
async def test_a_webhook_that_does_not_speak_tls_is_told():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        verdict, line = await told_of(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert verdict == "failed"
    assert line.endswith("it doesn't speak TLS; correct the port in url, or write http://")
