"""The catalogue is whole, says no to what it does not know, and its licences are written down."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from media.errors import ConfigError
from server.catalogue import HubSource, PackageSource, Role, load_catalogue, read_catalogue

CHECKOUT = Path(__file__).resolve().parents[2]


def test_every_role_has_a_model() -> None:
    assert {model.role for model in load_catalogue().models.values()} == set(Role)


def test_there_are_kokoros_54_voices_of_one_shape() -> None:
    voices = load_catalogue().model("kokoro-voices").files
    assert len(voices) == 54
    assert {file.size_bytes for file in voices.values()} == {510 * 1 * 256 * 4}


def test_every_model_can_be_had_from_a_package_registry() -> None:
    for model in load_catalogue().models.values():
        assert isinstance(model.sources[0], PackageSource), model.name


def test_hub_sources_are_pinned_to_a_commit() -> None:
    hubs = [s for m in load_catalogue().models.values() for s in m.sources if isinstance(s, HubSource)]
    assert hubs
    for hub in hubs:
        assert re.fullmatch(r"[0-9a-f]{40}", hub.revision), hub.repository


def test_no_pinned_hash_is_there_twice_by_mistake() -> None:
    files = [file.sha256 for model in load_catalogue().models.values() for file in model.files.values()]
    assert len(set(files)) == len(files)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no model called wisper-base: did you mean whisper-base\?"):
        load_catalogue().model("wisper-base")


def test_an_unknown_name_that_is_near_nothing_is_answered_with_all() -> None:
    with pytest.raises(ConfigError, match=r"no model called qqq: there are silero-vad, .*kokoro-voices\."):
        load_catalogue().select(["silero-vad", "qqq"])


def test_no_name_selects_all_and_a_repeated_one_counts_once() -> None:
    catalogue = load_catalogue()
    assert [model.name for model in catalogue.select()] == list(catalogue.models)
    assert [model.name for model in catalogue.select(["whisper-base", "whisper-base"])] == ["whisper-base"]


def test_a_source_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    digest = "ab" * 32
    file.write_text(f"""
- name: toy
  role: vad
  licence: MIT
  upstream: nobody/toy
  version: "1"
  files: {{a.bin: {{size_bytes: 1, sha256: {digest}}}, b.bin: {{size_bytes: 1, sha256: {digest}}}}}
  sources:
    - kind: pypi
      archives:
        - {{package: toy, version: "1", size_bytes: 1, sha256: {digest}, members: {{a.bin: toy/a.bin}}}}
""")
    with pytest.raises(ValidationError, match=r"files and the pypi source differ in b\.bin"):
        read_catalogue(file)


def test_every_dependency_and_model_is_in_the_list_of_third_parties() -> None:
    listed = (CHECKOUT / "THIRD_PARTY.md").read_text("utf-8")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {re.split(r"[\[<>=~;! ]", line, maxsplit=1)[0] for line in requirements}
    names.remove(project["name"])  # an extra that takes in another one
    assert not [name for name in sorted(names) if f"| {name} |" not in listed]
    assert not [name for name in load_catalogue().models if f"| {name} |" not in listed]
