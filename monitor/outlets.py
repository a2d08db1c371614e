"""Where the daemon's results go: the log always, the broker by way of the outbox where MQTT is on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from monitor.config import Config, MqttConfig
from monitor.errors import MonitorError
from monitor.outbox import Backlog, Outbox
from monitor.pipeline import Outlet
from monitor.sinks import messages
from monitor.sinks.broker import EmbeddedBroker
from monitor.sinks.discovery import discovery
from monitor.sinks.messages import Topics, event_fields
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.retained import Retained
from monitor.status import SourceState, SourceStatus
from monitor.switches import NOTHING_OFF, Switches, save_switches
from monitor.types import Activity, AudioBlock, Event, FloatArray, Phase, Scores, Window
from monitor.web import Live

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 5.0


def in_words(event: Event) -> str:
    """Tell a start or an end in one line."""
    if event.phase is Phase.START:
        return (
            f"{event.source}: {event.name} began (score {event.peak_score:.2f}, "
            f"threshold {event.threshold:.2f})"
        )
    lasted = (event.ended_at or event.started_at) - event.started_at
    return (
        f"{event.source}: {event.name} ended after {lasted:.1f} s "
        f"(peak {event.peak_score:.2f}, {event.reason.value})"
    )


class Outlets(Outlet):
    """Several outlets as one; each gets everything, in their order."""

    def __init__(self, *outlets: Outlet) -> None:
        self._outlets = outlets

    def named(self, event: Event) -> Event:
        """Let all add what they know."""
        for each in self._outlets:
            event = each.named(event)
        return event

    async def deliver(self, event: Event) -> None:
        """Give it to all, one after the other."""
        for each in self._outlets:
            await each.deliver(event)

    def source_changed(self, source: str, online: bool) -> None:
        """Tell all."""
        for each in self._outlets:
            each.source_changed(source, online)

    def heard(self, block: AudioBlock) -> None:
        """Give it to all."""
        for each in self._outlets:
            each.heard(block)

    def embedded(self, windows: Sequence[Window], embeddings: FloatArray) -> None:
        """Give them to all."""
        for each in self._outlets:
            each.embedded(windows, embeddings)

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:
        """Give them to all."""
        for each in self._outlets:
            each.scored(scores, activities)

    async def switched(self, switches: Switches) -> None:
        """Tell all."""
        for each in self._outlets:
            await each.switched(switches)

    def configure(self, config: Config) -> None:
        """Tell all."""
        for each in self._outlets:
            each.configure(config)


class LogOutlet(Outlet):
    """Tells events and changes of sources in the log."""

    def __init__(self) -> None:
        self._online: set[str] = set()
        self._switches = NOTHING_OFF

    async def deliver(self, event: Event) -> None:
        """Log it."""
        _log.info("%s", in_words(event), extra={"event": event_fields(event)})

    def source_changed(self, source: str, online: bool) -> None:
        """Log a change; every failed attempt to open a source comes here too."""
        if online == (source in self._online):
            return
        (self._online.add if online else self._online.discard)(source)
        _log.info("source %s: %s", source, "delivers sound" if online else "delivers no sound now")

    async def switched(self, switches: Switches) -> None:
        """Log what has changed."""
        for off in (True, False):
            before, now = (self._switches, switches) if off else (switches, self._switches)
            for key in sorted(now.off - before.off):
                _log.info("%s: detection is switched %s", key, "off" if off else "on")
        self._switches = switches


class SwitchMemory(Outlet):
    """Keeps the switches' file as they are."""

    def __init__(self, path: Path, saved: Switches) -> None:
        """Know by `saved` what the file has now."""
        self._path = path
        self._saved = saved

    async def switched(self, switches: Switches) -> None:
        """Save them; what can't be saved is logged, and holds until the next start."""
        if switches == self._saved:
            return
        try:
            await asyncio.to_thread(save_switches, self._path, switches)
        except OSError as error:
            cause = error.strerror
            _log.warning("%s: can't be written (%s); switches hold until the next start", self._path, cause)
        else:
            self._saved = switches


class PageOutlet(Outlet):
    """Keeps what open pages show: the last day's events, and the sound that somebody watches."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def deliver(self, event: Event) -> None:
        """Remember it for a day."""
        self._live.day.add(event)

    def heard(self, block: AudioBlock) -> None:
        """Draw it, where a page is open."""
        self._live.spectrograms.heard(block)


class MqttOutlet(Outlet):
    """Tells the broker: events by way of the outbox, states and scores directly."""

    def __init__(self, config: Config, mqtt: MqttConfig, sink: MqttSink, outbox: Outbox) -> None:
        self._config = config
        self._mqtt = mqtt
        self._topics = Topics(mqtt.prefix)
        self._sink = sink
        self._outbox = outbox
        self._pairs: dict[tuple[str, str], None] = {}
        self._sources: tuple[str, ...] = ()
        self._switches: Switches | None = None
        self._problems: dict[str, str | None] = {}
        self._sensors_due = 0.0
        self.configure(config)

    @property
    def port(self) -> int:
        """The broker's."""
        return self._mqtt.port_in_force

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._sink.connected

    @property
    def publish_failures(self) -> int:
        """Messages that the broker didn't take."""
        return self._sink.publish_failures

    @property
    def backlog(self) -> Backlog:
        """Events that wait for the broker."""
        return self._outbox.backlog

    async def deliver(self, event: Event) -> None:
        """Put it into the outbox: then it is safe. What isn't listened for (any more) leaves no state."""
        await self._sink.publish(event)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events that were given up, by reason, since the start."""
        return self._outbox.dropped

    @property
    def cut_short(self) -> Sequence[Event]:
        """Ends that the process before this one died too early to tell."""
        return self._outbox.cut_short

    def source_changed(self, source: str, online: bool) -> None:
        """Tell whether the source is available."""
        self._sink.set_source_status(source, online)

    def scored(self, scores: Scores, activities: Sequence[Activity]) -> None:
        """Publish every level and score where that is wanted."""
        if not self._mqtt.publish_scores:
            return
        self._sink.set_level(scores.source, scores.level_dbfs)
        for activity in activities:
            self._sink.set_score(activity.source, activity.event, activity.smooth)

    def observe(self, sources: Sequence[SourceStatus], now: float) -> None:
        """Tell every problem, and now and then levels and counters; `now` is monotonic, in seconds."""
        due = now >= self._sensors_due
        if due:
            self._sensors_due = now + self._mqtt.homeassistant.sensor_seconds
        for source in sources:
            if due or source.problem != self._problems.get(source.name):
                self._problems[source.name] = source.problem
                payload = messages.diagnostics_payload(source)
                self._sink.retain(self._topics.diagnostics(source.name), payload)
            level_dbfs = None if source.state is SourceState.OFFLINE else source.level_dbfs
            if due and level_dbfs is not None and self._mqtt.homeassistant.enabled:
                self._sink.set_level(source.name, level_dbfs)

    async def switched(self, switches: Switches) -> None:
        """Tell the positions of all switches."""
        self._switches = switches
        self._tell_switches()

    async def obey(self, enable: Callable[[str, str | None, bool], Awaitable[None]]) -> None:
        """Turn switches as the broker's clients ask for it, for ever."""
        while True:
            command = await self._sink.commands.next()
            try:
                await enable(command.source, command.event, command.on)
            except MonitorError as error:  # a reload came between
                _log.warning("MQTT: %s", error)

    def configure(self, config: Config) -> None:
        """Have the broker hold exactly what belongs to what is listened for."""
        self._config = config
        announcements = discovery(config, self._mqtt)
        pairs = {(source, event): None for source, event in config.switches() if event is not None}
        self._sink.commands.know(config.switches())
        self._sink.retain_only([*announcements, *self._topics.retained(config.switches())])
        for topic, payload in announcements.items():
            self._sink.retain(topic, payload)
        for source in config.sources:
            if source not in self._sources:
                self._sink.set_source_status(source, online=False)
        for source, event in _missing(pairs, self._pairs):
            self._sink.set_state(source, event, on=False)
        self._sources, self._pairs = tuple(config.sources), pairs
        self._tell_switches()

    def _tell_switches(self) -> None:
        if self._switches is None:  # what the broker holds is right until the pipeline says otherwise
            return
        for switch in self._config.switches():
            on = messages.ON if self._switches.on(*switch) else messages.OFF
            self._sink.retain(self._topics.enabled(*switch), on)


def _missing(wanted: Iterable[tuple[str, str]], there: dict[tuple[str, str], None]) -> list[tuple[str, str]]:
    return [pair for pair in wanted if pair not in there]


@asynccontextmanager
async def mqtt_outlet(config: Config, mqtt: MqttConfig, directory: Path) -> AsyncIterator[MqttOutlet]:
    """Open the outbox, start the embedded broker if that is wanted, and stay connected until left.

    Raises SinkError when the outbox can't be opened or the embedded broker can't start.
    """
    async with AsyncExitStack() as stack:
        outbox = await stack.enter_async_context(
            Outbox(
                directory / config.outbox.path,
                max_events=config.outbox.max_events,
                max_age_seconds=config.outbox.max_age_days * 86_400.0,
            )
        )
        if mqtt.broker == "embedded":
            broker = await stack.enter_async_context(EmbeddedBroker(mqtt))
            mqtt = mqtt.model_copy(update={"port": broker.port})
        retained = Retained(directory / "retained.json")
        await asyncio.to_thread(retained.load)
        sink = MqttSink(mqtt, outbox, retained=retained)
        outlet = MqttOutlet(config, mqtt, sink, outbox)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(sink.run(), name="mqtt sink")
        try:
            yield outlet
        finally:
            await sink.stop(_FLUSH_SECONDS)
