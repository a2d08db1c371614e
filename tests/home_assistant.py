"""A real Home Assistant for the tests: its MQTT integration set up by file, spoken to as its page does."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from conftest import ROOT
from mosquitto import free_port

HASS = ROOT / ".venv-homeassistant" / "bin" / "hass"
EXAMPLES = ROOT / "config" / "homeassistant"
START_SECONDS = 180.0
_USER, _TOKEN_ID, _KEY = "1" * 32, "2" * 32, "3" * 128


def _token() -> str:
    """Sign a long-lived token with the key that the configuration folder has."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"iss": _TOKEN_ID, "iat": now, "exp": now + 86_400}
    signed = ".".join(part(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{part(hmac.digest(_KEY.encode(), signed.encode(), hashlib.sha256))}"


def _auth() -> dict[str, Any]:
    user = {"id": _USER, "group_ids": ["system-admin"], "is_owner": True, "is_active": True, "name": "Test"}
    token = {
        "id": _TOKEN_ID,
        "user_id": _USER,
        "client_id": None,
        "client_name": "test",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": "2024-01-01T00:00:00+00:00",
        "access_token_expiration": 86_400.0,
        "token": "4" * 128,
        "jwt_key": _KEY,
    }
    return {
        "users": [{**user, "system_generated": False, "local_only": False}],
        "groups": [{"id": "system-admin", "name": "Administrators"}],
        "credentials": [],
        "refresh_tokens": [token],
    }


def _mqtt_entry(port: int) -> dict[str, Any]:
    return {
        "entry_id": "5" * 32,
        "version": 1,
        "minor_version": 1,
        "domain": "mqtt",
        "title": "broker",
        "data": {"broker": "127.0.0.1", "port": port, "discovery": True, "discovery_prefix": "homeassistant"},
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "unique_id": None,
        "disabled_by": None,
    }


class HomeAssistant:
    """Home Assistant in a configuration folder of its own, which survives a stop."""

    def __init__(self, folder: Path, broker_port: int, automations: list[dict] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._token = _token()
        self._process: asyncio.subprocess.Process | None = None
        self._configure(broker_port, automations or [])

    def _configure(self, broker_port: int, automations: list[dict]) -> None:
        storage = self.folder / ".storage"
        storage.mkdir(parents=True)
        stored = {
            "auth": (1, _auth()),
            "core.config_entries": (1, {"entries": [_mqtt_entry(broker_port)]}),
            "onboarding": (4, {"done": ["user", "core_config", "analytics", "integration"]}),
        }
        for key, (version, data) in stored.items():
            whole = {"version": version, "minor_version": 1, "key": key, "data": data}
            (storage / key).write_text(json.dumps(whole))
        shutil.copytree(EXAMPLES / "blueprints", self.folder / "blueprints")
        examples = yaml.safe_load((EXAMPLES / "automations.yaml").read_text())
        (self.folder / "automations.yaml").write_text(yaml.safe_dump(examples + automations))
        (self.folder / "configuration.yaml").write_text(
            "homeassistant: {name: Test, time_zone: UTC, latitude: 0, longitude: 0, elevation: 0}\n"
            f"http: {{server_host: 127.0.0.1, server_port: {self.port}}}\n"
            "api:\nconfig:\nwebsocket_api:\npersistent_notification:\n"
            "automation: !include automations.yaml\n"
            "logger: {default: warning}\n"
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def warnings(self) -> list[str]:
        """Return what it complains of that has to do with MQTT, automations or us."""
        words = ("mqtt", "automation", "blueprint", "sound", "template")
        return [
            line
            for line in self.log.splitlines()
            if (" WARNING " in line or " ERROR " in line) and any(word in line.lower() for word in words)
        ]

    async def start(self) -> float:
        """Start, and return the seconds until it answered that it runs."""
        began = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(str(HASS), "-c", str(self.folder), "--skip-pip"),
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": ""},
            )
        while time.monotonic() - began < START_SECONDS:
            try:
                told = await self.get("config")
                assert not told.get("recovery_mode"), self.log
                if told["state"] == "RUNNING":
                    return time.monotonic() - began
            except (aiohttp.ClientError, OSError):
                pass
            assert self._process.returncode is None, self.log
            await asyncio.sleep(0.2)
        raise AssertionError(f"Home Assistant doesn't start:\n{self.log}")

    async def stop(self) -> None:
        """End it in order; it writes down what it knows."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(60):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._process = None

    async def get(self, path: str) -> Any:
        return await self._rest("GET", path)

    async def service(self, name: str, **data: object) -> None:
        """Call a service over REST, such as `switch/turn_off`."""
        await self._rest("POST", f"services/{name}", data)

    async def _rest(self, method: str, path: str, data: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"http://127.0.0.1:{self.port}/api/{path}"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, url, json=data) as response,
        ):
            response.raise_for_status()
            return await response.json()

    async def ask(self, kind: str) -> Any:
        """Ask over the WebSocket, such as for `config/entity_registry/list`."""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{self.port}/api/websocket", max_msg_size=0) as socket,
        ):
            await socket.receive_json()
            await socket.send_json({"type": "auth", "access_token": self._token})
            assert (await socket.receive_json())["type"] == "auth_ok"
            await socket.send_json({"id": 1, "type": kind})
            answer = await socket.receive_json()
            assert answer["success"], answer
            return answer["result"]

    async def states(self) -> dict[str, dict[str, Any]]:
        """Return every entity of ours with its state and attributes."""
        found = {each["entity_id"]: each for each in await self.get("states")}
        return {name: each for name, each in found.items() if "_sound_monitor_" in name}

    async def until(
        self, holds: Callable[[dict[str, dict[str, Any]]], object], seconds: float = 60.0
    ) -> float:
        """Wait until the states are such; return the seconds that it took."""
        began = time.monotonic()
        while True:
            states = await self.states()
            if holds(states):
                return time.monotonic() - began
            if time.monotonic() - began > seconds:
                told = "\n".join(f"{name} {each['state']}" for name, each in sorted(states.items()))
                raise AssertionError(f"not within {seconds:.0f} s:\n{told}\n{self.log[-3000:]}")
            await asyncio.sleep(0.05)
