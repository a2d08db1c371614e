"""What the HTTP port refuses: other methods, paths, names and sites, and what is too large."""

import logging

import pytest
from web_kit import SECURITY, client, connection, daemon, exchange, status_of, url

from monitor.web import server

__all__ = ["client", "daemon", "url"]  # fixtures


class TestRefusals:
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
    async def test_other_methods(self, url, client, method):
        for path in ("/", "/metrics", "/events", "/status.json"):
            async with client.request(method, f"{url}{path}") as response:
                assert response.status == 405
                assert "GET" in response.headers["Allow"]

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/index.htm",
            "/page",
            "/metrics/",
            "/server.py",
            "/../server.py",
            "/%2e%2e/server.py",
            "/page/..%2fserver.py",
            "//etc/passwd",
            "/..%5c..%5cetc/passwd",
            "/page.js%00.html",
        ],
    )
    async def test_other_paths(self, url, path):
        answer = await exchange(
            url, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert status_of(answer) == 404
        assert b"import" not in answer

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "192.168.1.7",
            "",
            "[::1",
            "a@127.0.0.1",
        ],
    )
    async def test_other_names_on_loopback(self, url, host):
        for path in ("/status.json", "/nothing"):
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            answer = await exchange(url, request)
            assert status_of(answer) == (
                400 if host == "[::1" and not answer.startswith(b"HTTP/1.1 4") else 421
            )
            assert b"kitchen" not in answer

    async def test_no_name_at_all_on_loopback(self, url):
        assert status_of(await exchange(url, b"GET /status.json HTTP/1.0\r\n\r\n")) == 421

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]:7"]
    )
    async def test_own_names_on_loopback_are_welcome(self, url, client, host):
        async with client.get(f"{url}/status.json", headers={"Host": host}) as response:
            assert response.status == 200

    async def test_bound_wider_any_name_is_welcome(self, daemon, client):
        async with (
            daemon.serve(host="0.0.0.0") as running,
            client.get(
                f"http://127.0.0.1:{running.port}/healthz", headers={"Host": "monitor.lan"}
            ) as response,
        ):
            assert response.status == 200

    async def test_other_sites_scripts(self, url, client):
        script = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://evil.example"}
        async with client.get(f"{url}/events", headers=script) as response:
            assert response.status == 403
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        async with client.get(f"{url}/", headers=link) as response:
            assert response.status == 200

    async def test_no_origin_is_ever_allowed_to_read(self, url, client):
        async with client.get(f"{url}/status.json", headers={"Origin": "https://evil.example"}) as response:
            assert not [name for name in response.headers if name.lower().startswith("access-control")]

    async def test_bodies(self, url):
        head = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n"
        assert status_of(await exchange(url, head + b"Content-Length: 1000000\r\n\r\nxxxx")) == 413
        assert (
            status_of(await exchange(url, head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")) == 413
        )

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n"
            + b"".join(b"X-%d: 1\r\n" % n for n in range(500))
            + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: 1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"\x00" * 100 + b"\r\n\r\n",
        ],
    )
    async def test_what_is_too_large_or_no_http(self, url, client, request_bytes, caplog):
        answer = await exchange(url, request_bytes)
        assert status_of(answer) == 400
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        async with client.get(f"{url}/healthz") as response:
            assert response.status == 200

    @pytest.mark.parametrize("expectation", [b"100-continue", b"\xf2", b"a miracle"])
    async def test_expectations_are_not_met_but_answered(self, url, expectation, caplog):
        for path, status in ((b"/healthz", 200), (b"/nothing", 404)):
            head = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            answer = await exchange(url, head + b"Expect: " + expectation + b"\r\n\r\n")
            assert status_of(answer) == status
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    async def test_connections_over_the_limit_are_closed_and_the_rest_is_served(self, url, monkeypatch):
        monkeypatch.setattr(server, "MAX_CONNECTIONS", 4)
        ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with (
            connection(url) as (reader, writer),
            connection(url),
            connection(url),
            connection(url) as (last_reader, last),
        ):
            last.write(ask)  # its answer tells that all four have been accepted
            assert await last_reader.readline() == b"HTTP/1.1 200 OK\r\n"
            assert await exchange(url, ask) == b""
            writer.write(ask)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"

    async def test_every_answer_has_the_security_headers(self, url, client):
        asked = [
            ("GET", "/", {}, 200),
            ("GET", "/metrics", {}, 200),
            ("GET", "/events", {}, 200),
            ("GET", "/nothing", {}, 404),
            ("POST", "/", {}, 405),
            ("GET", "/", {"Host": "evil.example"}, 421),
            ("GET", "/", {"Sec-Fetch-Site": "cross-site"}, 403),
        ]
        for method, path, headers, status in asked:
            async with client.request(method, f"{url}{path}", headers=headers) as response:
                assert response.status == status
                assert SECURITY.items() <= dict(response.headers).items()
                assert response.headers["Cache-Control"] in ("no-store", "no-cache")
