"""Labels as a table: what is read, and one clear line for everything that can't be."""

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from monitor.errors import ConfigError
from monitor.evaluation.manifest import Occurrence, parse_mapping, read_manifest
from monitor.fields import Slug

EVENTS = ("dog_bark", "door_knock")


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"sound")
    return tmp_path


def write(folder, text, name="labels.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_times_and_paths_are_read_and_other_columns_left_alone(folder):
    path = write(
        folder,
        "path,label,onset,offset,licence\n"
        "b.wav,Door knock,3.5,4,CC0\n"
        'b.wav,"dog bark",0,1.25,CC0\n'
        "a.wav,,,,\n",
    )
    manifest = read_manifest(path, EVENTS)
    assert manifest.recordings == {
        folder / "b.wav": (Occurrence("dog_bark", 0.0, 1.25), Occurrence("door_knock", 3.5, 4.0)),
        folder / "a.wav": (),
    }
    assert not manifest.whole
    assert manifest.events() == ["dog_bark", "door_knock"]


def test_labels_without_times_hold_for_whole_clips(folder):
    manifest = read_manifest(write(folder, "path,label\na.wav,dog_bark\n"), EVENTS)
    assert manifest.whole
    assert manifest.recordings == {folder / "a.wav": (Occurrence("dog_bark", 0.0, math.inf),)}


def test_a_mapping_and_a_column_name_events_that_labels_do_not(folder):
    path = write(
        folder, "path,label,onset,offset,event\na.wav,dog,0,1,\na.wav,knock,2,3,door_knock\na.wav,cat,4,5,\n"
    )
    manifest = read_manifest(path, EVENTS, {"dog": "dog_bark"})
    assert [each.event for each in manifest.recordings[folder / "a.wav"]] == ["dog_bark", "door_knock", None]
    assert manifest.unknown_labels == {"cat": 1}


def test_tables_separated_by_tabs_and_with_a_byte_order_mark_are_read(folder):
    path = write(folder, "\ufeffpath\tlabel\tonset\toffset\na.wav\tdog bark\t0\t1\n", "labels.tsv")
    assert read_manifest(path, EVENTS).events() == ["dog_bark"]


def test_a_recording_is_one_however_its_path_is_written(folder):
    (folder / "link.wav").symlink_to("a.wav")
    (folder / "sub").mkdir()
    spellings = ["sub/../a.wav", "a.wav", str(folder / "a.wav"), "link.wav"]
    rows = [f"{path},dog_bark,{start},{start + 1}\n" for start, path in enumerate(spellings)]
    manifest = read_manifest(write(folder, "path,label,onset,offset\n" + "".join(rows)), EVENTS)
    (path,) = manifest.recordings
    assert path == folder / "sub/../a.wav"
    assert [each.onset for each in manifest.recordings[path]] == [0.0, 1.0, 2.0, 3.0]


def test_recordings_without_any_label_are_event_free(folder):
    manifest = read_manifest(write(folder, "path,label\na.wav,\nb.wav,\n"), EVENTS)
    assert manifest.recordings == {folder / "a.wav": (), folder / "b.wav": ()}
    assert not manifest.whole


def test_a_row_without_a_label_may_have_times(folder):
    manifest = read_manifest(write(folder, "path,label,onset,offset\na.wav,,0,5\n"), EVENTS)
    assert manifest.recordings == {folder / "a.wav": ()}


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("path,onset\n", "{path}:1: has no column 'label'; start with path,label,onset,offset"),
        ("", "{path}:1: has no column 'path'; start with path,label,onset,offset"),
        (
            "path,label,start,end\na.wav,dog_bark,0,1\n",
            "{path}:1: name the times onset and offset, not start, end",
        ),
        (
            "path,label,onset,Offset\na.wav,dog_bark,0,1\n",
            "{path}:1: name the times onset and offset, not Offset",
        ),
        ("path,label\n", "{path}: names no recording; add rows of path,label,onset,offset"),
        ("path,label\n,dog_bark\n", "{path}:2: path is empty"),
        ("path,label\nc.wav,dog_bark\n", "{path}:2: path 'c.wav' is no file in '{folder}'"),
        (
            "path,label,onset,offset\na.wav,dog_bark,0,1\na.wav,dog_bark,x,1\n",
            "{path}:3: onset 'x' is not a number of seconds from 0",
        ),
        (
            "path,label,onset,offset\na.wav,dog_bark,1,\n",
            "{path}:2: offset '' is not a number of seconds from 0",
        ),
        (
            "path,label,onset,offset\na.wav,dog_bark,-1,2\n",
            "{path}:2: onset '-1' is not a number of seconds from 0",
        ),
        (
            "path,label,onset,offset\na.wav,dog_bark,0,nan\n",
            "{path}:2: offset 'nan' is not a number of seconds from 0",
        ),
        ("path,label,onset,offset\na.wav,dog_bark,2,2\n", "{path}:2: offset 2 is not after onset 2"),
        ("path,label,event\na.wav,dog,cow\n", "{path}:2: event 'cow' is not in the configuration"),
        (
            "path,label\na.wav,dog_bark,3\n",
            "{path}:2: has more fields than the first line names; put quotes round a comma",
        ),
        (
            "path,label,onset,offset\na.wav,dog_bark,0,1\nb.wav,dog_bark,,\n",
            (
                "{path}:3: has no onset and offset, but {path}:2 has; "
                "split clips and labelled stretches into two manifests"
            ),
        ),
        (
            "path,label\na.wav,cow\n",
            (
                "{path}: none of its labels (cow) is an event of the configuration; "
                "name the events so, or give --map LABEL=EVENT"
            ),
        ),
        ('path,label\na.wav,"dog\n', "{path}:2: is not CSV: unexpected end of data"),
    ],
)
def test_what_cannot_be_used_is_named_with_file_and_line(folder, text, finding):
    path = write(folder, text)
    with pytest.raises(ConfigError) as error:
        read_manifest(path, EVENTS)
    assert str(error.value) == finding.format(path=path, folder=folder)


def test_all_bad_rows_are_named_at_once_up_to_ten(folder):
    path = write(folder, "path,label\n" + "c.wav,dog_bark\n" * 13)
    with pytest.raises(ConfigError) as error:
        read_manifest(path, EVENTS)
    assert len(error.value.lines) == 11
    assert error.value.lines[-1] == f"{path}: and 3 more rows that can't be used"


def test_a_manifest_that_is_not_there_or_no_text_is_told(folder):
    with pytest.raises(ConfigError, match="can't be read: No such file or directory"):
        read_manifest(folder / "none.csv", EVENTS)
    (folder / "bytes.csv").write_bytes(b"path,label\n\xff\xfe,dog\n")
    with pytest.raises(ConfigError, match="isn't UTF-8"):
        read_manifest(folder / "bytes.csv", EVENTS)


def test_mappings_are_read_as_typed():
    assert parse_mapping(["dog=dog_bark", "a=b=c"][:1], EVENTS) == {"dog": "dog_bark"}
    with pytest.raises(ConfigError, match="write it as LABEL=EVENT"):
        parse_mapping(["dog"], EVENTS)
    with pytest.raises(ConfigError, match="'cow' is not an event of the configuration"):
        parse_mapping(["dog=cow"], EVENTS)


@pytest.mark.parametrize(
    ("label", "event"),
    [
        ("Door  Knock (wood)", "door_knock_wood"),
        ("Türklingel", "turklingel"),
        ("x" * 63 + " y", "x" * 63),
    ],
)
def test_a_label_is_the_event_whose_name_the_configuration_would_propose_for_it(folder, label, event):
    with pytest.raises(ValidationError, match=f"; write {event} "):
        TypeAdapter(Slug).validate_python(label)
    manifest = read_manifest(write(folder, f"path,label\na.wav,{label}\n"), [event])
    assert manifest.events() == [event]
