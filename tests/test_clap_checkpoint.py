"""Finding a checkpoint in a folder or on a hub, and what is said of one that can't be used."""

import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_clap import edit_json, make_clap

from monitor.config import EncoderConfig
from monitor.encoders.clap import ClapEncoder
from monitor.encoders.clap_batches import CpuBatches
from monitor.encoders.clap_checkpoint import open_checkpoint
from monitor.errors import EncoderError

COMPACT = "or use `encoder: {model: compact}`"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clap(tmp_path_factory.mktemp("good"))


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(good, tmp_path / "model")


def load(model: str | Path) -> ClapEncoder:
    return ClapEncoder.load(EncoderConfig(model=str(model), device="cpu"))


def error_of(model: str | Path) -> str:
    with pytest.raises(EncoderError) as caught:
        load(model).embed_text(["a dog barking"])
    return str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def drop_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "audio_projection" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def nest(folder: Path, **changes: object) -> None:
    path = folder / "processor_config.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"feature_extractor": described["feature_extractor"] | changes}))


def edit_audio(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit_json(folder / "config.json", audio_config=config["audio_config"] | changes)


def put_code(folder: Path, *, beside: bool = False) -> None:
    """Pickled weights that, run, would touch a file."""

    class Code:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(folder / "touched"),)

    torch.save({"logit_scale_a": Code()}, folder / "pytorch_model.bin")
    if not beside:
        (folder / "model.safetensors").unlink()


FUSED = (
    "it is a fused checkpoint, whose results for short sounds depend on chance; "
    f"use an unfused one such as laion/clap-htsat-unfused, {COMPACT}"
)
SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "no configuration",
        lambda folder: (folder / "config.json").unlink(),
        f"it lacks config.json (the configuration); complete the download, {COMPACT}",
    ),
    (
        "no front end",
        lambda folder: (folder / "processor_config.json").unlink(),
        (
            "it lacks preprocessor_config.json or processor_config.json (the front end's settings); "
            f"complete the download, {COMPACT}"
        ),
    ),
    (
        "no tokenizer",
        lambda folder: (folder / "tokenizer.json").unlink(),
        f"it lacks tokenizer.json or vocab.json (the tokenizer); complete the download, {COMPACT}",
    ),
    (
        "no weights",
        lambda folder: (folder / "model.safetensors").unlink(),
        (
            "it lacks model.safetensors or model.safetensors.index.json or pytorch_model.bin or "
            f"pytorch_model.bin.index.json (the weights); complete the download, {COMPACT}"
        ),
    ),
    (
        "empty configuration",
        lambda folder: (folder / "config.json").write_text(""),
        (
            "its config.json can't be read (Expecting value: line 1 column 1 (char 0)); "
            f"download it again, {COMPACT}"
        ),
    ),
    (
        "another model",
        lambda folder: edit_json(folder / "config.json", model_type="bert"),
        f"it is not a CLAP model but 'bert'; name one such as laion/clap-htsat-unfused, {COMPACT}",
    ),
    ("fused model", lambda folder: edit_audio(folder, enable_fusion=True), FUSED),
    ("fused front end", lambda folder: nest(folder, truncation="fusion"), FUSED),
    (
        "another front end",
        lambda folder: nest(folder, padding="pad"),
        (
            "its front end (padding 'pad', 64 bands) isn't that of a CLAP model ('repeatpad', 64 bands); "
            f"use a checkpoint of LAION's, {COMPACT}"
        ),
    ),
    (
        "weights cut short",
        lambda folder: cut(folder / "model.safetensors"),
        f"its weights can't be read (LIBRARY); download it again, {COMPACT}",
    ),
    (
        "weights of another size",
        lambda folder: edit_audio(folder, patch_embeds_hidden_size=16, hidden_size=128),
        f"its weights can't be read (LIBRARY); download it again, {COMPACT}",
    ),
    (
        "some weights missing",
        drop_weights,
        (
            "its weights lack 4 of a CLAP model's, audio_projection.linear1.bias for one; "
            f"download it again, {COMPACT}"
        ),
    ),
    (
        "a configuration that makes no sense",
        lambda folder: edit_audio(folder, depths="deep"),
        f"its config.json can't be read (LIBRARY); download it again, {COMPACT}",
    ),
    (
        "broken tokenizer",
        lambda folder: cut(folder / "tokenizer.json"),
        f"its tokenizer can't be read (LIBRARY); download it again, {COMPACT}",
    ),
    (
        "pickled code in place of weights",
        put_code,
        f"its weights can't be read (LIBRARY); download it again, {COMPACT}",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), [pytest.param(*rest, id=name) for name, *rest in SPOILT])
def test_a_spoilt_folder_is_one_line_with_the_remedy(folder: Path, spoil, message: str) -> None:
    """LIBRARY stands for the words of transformers or safetensors, which change with their versions."""
    spoil(folder)
    told = error_of(folder)
    assert re.fullmatch(re.escape(f"encoder.model: {folder}: {message}").replace("LIBRARY", ".+"), told), told


def test_code_in_weights_isnt_run(folder: Path) -> None:
    put_code(folder)
    error_of(folder)
    assert not (folder / "touched").exists()


@pytest.mark.parametrize("model", ["/no/such/folder", "./nowhere", "~/nowhere", "clap", "a/b/c"])
def test_a_folder_that_isnt_there_is_one_line_with_the_remedy(model: str) -> None:
    remedy = "name a folder or a model of the Hugging Face hub (owner/name)"
    assert error_of(model) == f"encoder.model: {model}: there is no such folder; {remedy}, {COMPACT}"


def test_too_little_memory_is_one_line_with_the_remedy(good: Path, monkeypatch) -> None:
    def exhausted(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(CpuBatches, "__init__", exhausted)
    problem = "there isn't enough memory to run it; free some, lower `encoder.max_batch`"
    assert error_of(good) == f"encoder.model: {good}: {problem}, {COMPACT}"


def test_pickled_weights_load_where_there_are_no_others(good: Path, tmp_path: Path) -> None:
    pickled = load(make_clap(tmp_path / "pickled", safe=False))
    safe = load(good)
    assert pickled.identity.split("@")[1] != safe.identity.split("@")[1]
    np.testing.assert_allclose(pickled.embed_text(["a dog"]), safe.embed_text(["a dog"]), atol=1e-6)


def test_safetensors_are_preferred(folder: Path) -> None:
    put_code(folder, beside=True)
    load(folder)
    assert not (folder / "touched").exists()


def test_the_front_end_is_read_from_either_file(folder: Path) -> None:
    """LAION's checkpoints have preprocessor_config.json, newer ones nest it in processor_config.json."""
    nest(folder, frequency_min=123, hop_length=500)
    nested = open_checkpoint(str(folder))
    path = folder / "processor_config.json"
    (folder / "preprocessor_config.json").write_text(
        json.dumps(json.loads(path.read_text())["feature_extractor"])
    )
    path.unlink()
    alone = open_checkpoint(str(folder))
    assert nested.features == alone.features
    assert (alone.features.fmin, alone.features.hop, alone.features.fmax) == (123.0, 500, 14000.0)


class Hub:
    """A server with the parts of the hub's interface that a download uses, and one model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.status = 200
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests.append(self.path)
                status, headers, body = hub.answer(self.path.split("?")[0])
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        commit = "0123456789" * 4
        if self.status != 200:
            return self.status, {}, b""
        if path == "/api/models/someone/clap/revision/main":
            files = [{"rfilename": file.name} for file in self.folder.iterdir()]
            described = {"id": "someone/clap", "sha": commit, "siblings": files, "private": False, "tags": []}
            return 200, {}, json.dumps(described).encode()
        if path == f"/api/models/someone/clap/tree/{commit}":
            files = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": etag(file)[:40]}
                for file in self.folder.iterdir()
            ]
            return 200, {}, json.dumps(files).encode()
        file = self.folder / path.rsplit("/", 1)[-1]
        if path.startswith(f"/someone/clap/resolve/{commit}/") and file.is_file():
            headers = {"ETag": f'"{etag(file)}"', "X-Repo-Commit": commit}
            return 200, headers, file.read_bytes()
        return 404, {"X-Error-Code": "EntryNotFound" if "clap" in path else "RepoNotFound"}, b""


def etag(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch) -> Iterator[Hub]:
    hub = Hub(folder)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def test_a_hub_name_is_downloaded_once_and_then_needs_no_network(hub: Hub, caplog) -> None:
    caplog.set_level(logging.INFO, logger="monitor")
    encoder = load("someone/clap")
    assert caplog.messages[0] == "someone/clap isn't in the local cache; downloading it"
    assert encoder.identity == f"clap@{etag(hub.folder / 'model.safetensors')[:12]}"
    asked = len(hub.requests)
    hub.status = 500
    again = load("someone/clap")
    assert len(hub.requests) == asked
    assert again.identity == encoder.identity
    assert again.embed_text(["a dog"]).shape == (1, 32)


def test_only_the_weights_that_are_used_are_downloaded(hub: Hub) -> None:
    (hub.folder / "pytorch_model.bin").write_bytes(b"")
    (hub.folder / "sounds.wav").write_bytes(b"")
    load("someone/clap")
    assert not [path for path in hub.requests if path.endswith((".bin", ".wav"))]


def test_pickled_weights_are_downloaded_where_there_are_no_others(hub: Hub, tmp_path: Path) -> None:
    hub.folder = make_clap(tmp_path / "pickled", safe=False)
    assert load("someone/clap").identity == f"clap@{etag(hub.folder / 'pytorch_model.bin')[:12]}"


def test_a_name_that_the_hub_doesnt_know_is_one_line_with_the_remedy(hub: Hub) -> None:
    problem = "there is no such folder, and no such public model on the hub; check the name"
    assert error_of("someone/else") == f"encoder.model: someone/else: {problem}, {COMPACT}"


@pytest.mark.parametrize("fault", ["no network", "hub down", "half a download"])
def test_a_model_that_cant_be_downloaded_is_one_line_with_the_remedy(
    hub: Hub, fault: str, monkeypatch
) -> None:
    if fault == "no network":
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    elif fault == "hub down":
        hub.status = 503
    else:
        answer = hub.answer
        monkeypatch.setattr(
            hub, "answer", lambda path: (403, {}, b"") if path.endswith(".safetensors") else answer(path)
        )
    problem = "it isn't in the local cache and can't be downloaded"
    remedy = "connect to the network once, or name a folder"
    told = error_of("someone/clap")
    wanted = re.escape(f"encoder.model: someone/clap: {problem} (LIBRARY); {remedy}, {COMPACT}")
    assert re.fullmatch(wanted.replace("LIBRARY", ".+"), told), told
