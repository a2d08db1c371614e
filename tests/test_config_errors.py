"""What is wrong with a configuration is told in one line each, to the letter of the table."""

from __future__ import annotations

import pytest
from config_mistakes import BASE, ENVIRON, VALUES
from config_mistakes_files import FILES

from monitor.config_file import load_config
from monitor.errors import ConfigError


def names(table):
    return [str(text)[:40].strip() or "nothing" for text, _ in table]


def error_of(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "home.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        load_config(file.relative_to(tmp_path), ENVIRON)
    return str(caught.value)


@pytest.mark.parametrize(("text", "says"), VALUES, ids=names(VALUES))
def test_a_wrong_line_is_told_in_one_line(text, says, tmp_path, monkeypatch):
    assert error_of(BASE + text + "\n", tmp_path, monkeypatch) == f"home.yaml:{says}"


@pytest.mark.parametrize(("text", "says"), FILES, ids=names(FILES))
def test_a_wrong_file_is_told_in_one_line(text, says, tmp_path, monkeypatch):
    assert error_of(text, tmp_path, monkeypatch) == says


def test_the_table_holds_what_it_promises():
    assert len(VALUES) + len(FILES) >= 45


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file; give the path of a configuration$"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r": is a folder; give the path of a configuration in it$"):
        load_config(tmp_path)


def test_an_unreadable_file_is_told_with_its_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can't be read \(Not a directory\); mend its path or its perm"):
        load_config(tmp_path / "file" / "home.yaml")


def test_every_finding_has_a_line_of_its_own_in_the_files_order(tmp_path, monkeypatch):
    text = BASE + "  cat: {prompts: meow, on_threshold: 2}\nlog: {level: loud}\nhttp: {port: x}\nhtpp: {}\n"
    assert error_of(text, tmp_path, monkeypatch).splitlines() == [
        "home.yaml:5: events.cat.on_threshold: 2 is not between 0 and 1",
        "home.yaml:6: log.level: 'loud' is not one of debug, info, warning, error",
        "home.yaml:7: http.port: 'x' is not a whole number",
        "home.yaml:8: htpp: is not a known key; did you mean http?",
    ]
