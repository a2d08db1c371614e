"""`sound-monitor run`: the pipeline as a service, with signals, reload, watchdog and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from monitor import __version__, interrupt, log
from monitor.clip_outlet import clip_outlet
from monitor.config import Config
from monitor.config_file import load_config
from monitor.directories import StateDirectory, history_directory, state_directory
from monitor.errors import ConfigError, MonitorError
from monitor.heap import share_one_arena
from monitor.history.values import Kind
from monitor.hooks import HookOutlet, hook_outlets
from monitor.metrics import Metrics
from monitor.outbox import Backlog
from monitor.outlets import LogOutlet, MqttOutlet, Outlets, PageOutlet, SwitchMemory, mqtt_outlet
from monitor.past.ask import ask_history
from monitor.pipeline import Outlet, Pipeline
from monitor.recorder import Recorder, kind_of, recording
from monitor.rules import event_in_words, stored_in_words, windows_in_words
from monitor.scoring import Scorer
from monitor.status import EncoderStatus, EventRule, OutboxStatus, ReloadStatus, Status
from monitor.switches import Switches, load_switches
from monitor.systemd import Notifier
from monitor.types import Window
from monitor.web import Live, serve

_log = logging.getLogger(__name__)

_OBSERVE_SECONDS = 1.0
_NEEDS_RESTART = (
    "mqtt",
    "http",
    "outbox",
    "history",
    "clips",
    "webhooks",
    "commands",
    "state_directory",
)


def run_daemon(path: Path, overlays: Sequence[Path]) -> int:
    """Run until SIGTERM or SIGINT, or until every source has ended; return the exit status."""
    config = load_config(path, overlays=overlays)
    log.setup(config.log)
    share_one_arena()
    interrupt.run(Daemon(config, path, overlays).run())
    return 0


def _served(config: Config) -> Path | None:
    return config.clips.directory if config.clips and config.clips.serve else None


class Daemon:
    """Owns everything that lives as long as the process."""

    def __init__(self, config: Config, path: Path, overlays: Sequence[Path]) -> None:
        self._config = config
        self._path = path
        self._overlays = overlays
        self._started_at = time.time()
        self._registry = CollectorRegistry()
        self._metrics = Metrics(self._registry, config)
        self._scorer = Scorer()
        self._pipeline: Pipeline | None = None
        self._mqtt: MqttOutlet | None = None
        self._recorder: Recorder | None = None
        self._hooks: Sequence[HookOutlet] = ()
        self._outlets = Outlets(LogOutlet())
        self._live = Live(enable=self._enable, ask=self._ask if config.history else None)
        self._reload = ReloadStatus(ok=True, at=self._started_at)
        self._metrics.reload(ok=True, at=self._started_at)
        self._stop = asyncio.Event()
        self._hangup = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop; raises MonitorError for what the user can mend."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        stopping = asyncio.create_task(self._stop.wait())
        serving = asyncio.create_task(self._serve())
        # A stop during the start cancels it; once there is a pipeline, it ends in order instead.
        await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
        if self._pipeline is None and not serving.done():
            _log.info("stopping before the start was done")
            serving.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        finally:
            stopping.cancel()
            self._scorer.close()

    async def _serve(self) -> None:
        with Notifier() as notifier:
            async with contextlib.AsyncExitStack() as stack:
                config = self._config
                state = stack.enter_context(StateDirectory(state_directory(config), self._path))
                if config.mqtt is not None:
                    self._mqtt = await stack.enter_async_context(mqtt_outlet(config, config.mqtt, state.path))
                    if config.mqtt.broker == "embedded":
                        state.note(mqtt_port=self._mqtt.port)
                if config.http.enabled:
                    server = await stack.enter_async_context(
                        serve(
                            config.http,
                            self._registry,
                            self._status,
                            self._healthy,
                            self._live,
                            clips=_served(config),
                        )
                    )
                    _log.info("page and metrics at %s", server.url)
                notifier.status("loading the model")
                self._scorer.use(await self._scorer.prepare(config))
                self._tell_model()
                path = state.path / "switches.json"
                switches = await asyncio.to_thread(load_switches, path)
                outlets: list[Outlet] = [LogOutlet(), SwitchMemory(path, switches), PageOutlet(self._live)]
                if config.clips:
                    outlets.append(
                        await stack.enter_async_context(
                            clip_outlet(config, config.clips, self._metrics, self._scorer.vetoed)
                        )
                    )
                if config.webhooks or config.commands:
                    self._hooks = await stack.enter_async_context(
                        hook_outlets(config, state.path, self._metrics)
                    )
                    outlets += self._hooks
                if self._mqtt is not None:
                    outlets.append(self._mqtt)
                if config.history is not None:
                    self._recorder = await stack.enter_async_context(
                        recording(
                            history_directory(config),
                            self._kind_of,
                            keep_days=config.history.keep_days,
                            max_bytes=config.history.max_bytes,
                        )
                    )
                    outlets.append(self._recorder)
                self._outlets = Outlets(*outlets)
                cut_short = [each.cut_short for each in (self._mqtt, *self._hooks) if each]
                for event in {event.id: event for events in cut_short for event in events}.values():
                    await self._outlets.deliver(event)
                await self._listen(notifier, switches)
            _log.info("stopped")

    async def _listen(self, notifier: Notifier, switches: Switches) -> None:
        pipeline = Pipeline(self._config, self._scorer, self._outlets, self._metrics, switches=switches)
        self._pipeline = pipeline
        async with asyncio.TaskGroup() as group:
            running = group.create_task(pipeline.run())
            helpers = [
                group.create_task(self._observe()),
                group.create_task(self._reload_on_hangup(pipeline, notifier)),
                group.create_task(self._feed_watchdog(pipeline, notifier)),
                group.create_task(self._stop_on_signal(pipeline, notifier)),
            ]
            if self._mqtt:
                helpers.append(group.create_task(self._mqtt.obey(pipeline.enable)))
            # What was made during the start stays: the collector needn't look at it ever again.
            gc.collect()
            gc.freeze()
            notifier.ready(self._summary())
            _log.info("listening: %s", self._summary())
            await running
            for helper in helpers:
                helper.cancel()
        if not self._stop.is_set():
            _log.info("every source has ended")

    async def _stop_on_signal(self, pipeline: Pipeline, notifier: Notifier) -> None:
        await self._stop.wait()
        _log.info("stopping: ending events and telling the broker")
        notifier.stopping()
        pipeline.stop()

    async def _feed_watchdog(self, pipeline: Pipeline, notifier: Notifier) -> None:
        while True:
            await asyncio.sleep(notifier.watchdog_interval or 60.0)
            if pipeline.stall() is not None:
                # After a pause of this process, the next window has still to fill.
                await asyncio.sleep(_OBSERVE_SECONDS + self._config.windows.window_seconds)
            told = False
            while (stall := pipeline.stall()) is not None:
                if not told:
                    _log.error("no progress: %s", stall)
                told = True
                await asyncio.sleep(_OBSERVE_SECONDS)
            if told:
                _log.info("there is progress again")
            notifier.watchdog()

    async def _observe(self) -> None:
        while True:
            backlog = self._backlog
            dropped = self._mqtt.dropped if self._mqtt else {}
            self._metrics.outbox(backlog.pending, backlog.oldest_time, backlog.unsaved, dropped)
            for hook in self._hooks:
                hook.observe()
            self._metrics.rebuilds(self._scorer.rebuilds)
            self._metrics.mqtt(self._mqtt_connected)
            self._metrics.publish_failures(self._mqtt.publish_failures if self._mqtt else 0)
            if self._recorder is not None:
                self._metrics.history(self._recorder.written, self._recorder.dropped)
            if self._mqtt and self._pipeline:
                self._mqtt.observe(self._pipeline.source_statuses(), time.monotonic())
            await asyncio.sleep(_OBSERVE_SECONDS)

    async def _reload_on_hangup(self, pipeline: Pipeline, notifier: Notifier) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            notifier.reloading()
            try:
                config = await asyncio.to_thread(load_config, self._path, overlays=self._overlays)
                kept = {name: getattr(self._config, name) for name in _NEEDS_RESTART}
                changed = [name for name, value in kept.items() if getattr(config, name) != value]
                config = config.model_copy(update=kept)
                await pipeline.apply(config)
            except MonitorError as error:
                self._reload = ReloadStatus(ok=False, at=time.time(), problem=str(error))
                for line in error.lines if isinstance(error, ConfigError) else [str(error)]:
                    _log.error("the configuration stays as it was: %s", line)
            else:
                self._config = config
                self._outlets.configure(config)
                self._tell_model()
                log.setup(config.log)
                self._reload = ReloadStatus(ok=True, at=time.time())
                _log.info("configuration reloaded: %s", self._summary())
                for name in changed:
                    _log.warning("%s: its changes take effect at the next restart", name)
            self._metrics.reload(ok=self._reload.ok, at=self._reload.at)
            notifier.ready(self._summary())

    @property
    def _backlog(self) -> Backlog:
        return self._mqtt.backlog if self._mqtt else Backlog()

    @property
    def _mqtt_connected(self) -> bool | None:
        return self._mqtt.connected if self._mqtt else None

    async def _enable(self, source: str, event: str | None, on: bool) -> None:
        if self._pipeline is None:
            raise MonitorError("the model is being loaded; try again in a moment")
        await self._pipeline.enable(source, event, on)

    async def _ask(self, words: str, since: float) -> dict[str, object]:
        if self._pipeline is None:
            raise MonitorError("the model is being loaded; try again in a moment")
        return await ask_history(words, since, self._config, self._scorer)

    def _kind_of(self, window: Window, dimension: int) -> Kind:
        config = self._pipeline.config if self._pipeline else self._config
        return kind_of(window, dimension, self._scorer.encoder, config)

    def _summary(self) -> str:
        sources, events = len(self._config.sources), len(self._config.events)
        return (
            f"{sources} source{'s' if sources != 1 else ''}, {events} event{'s' if events != 1 else ''}, "
            f"encoder {self._scorer.encoder.identity}"
        )

    def _tell_model(self) -> None:
        encoder = self._scorer.encoder
        self._metrics.model(encoder.identity, encoder.device, self._config.encoder.dtype)

    def _healthy(self) -> tuple[bool, str]:
        if self._pipeline is None:
            return False, "starting: the model is being loaded"
        silent = self._pipeline.silent_sources()
        return not silent, "; ".join(silent)

    def _status(self) -> Status:
        config, pipeline = self._config, self._pipeline
        encoder = None
        if pipeline is not None:
            model = self._scorer.encoder
            encoder = EncoderStatus(model.identity, model.device, config.encoder.dtype)
        backlog = self._backlog
        return Status(
            at=time.time(),
            version=__version__,
            started_at=self._started_at,
            encoder=encoder,
            windows=windows_in_words(config),
            stored=stored_in_words(config),
            sources=pipeline.source_statuses() if pipeline else (),
            events=tuple(
                EventRule(
                    *(name, event.on_threshold, event.off, event_in_words(config, name)),
                    is_level=event.level is not None,
                )
                for name, event in config.events.items()
            ),
            activities=pipeline.activities() if pipeline else (),
            recent=tuple(pipeline.recent) if pipeline else (),
            mqtt_connected=self._mqtt_connected,
            outbox=OutboxStatus(backlog.pending, backlog.oldest_time),
            reload=self._reload,
            searchable=config.history is not None,
            clips_served=_served(config) is not None,
        )
