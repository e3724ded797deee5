"""Which files are served and which are refused, with the reason."""

import asyncio

import pytest

from goodcert.serve.batching.batcher import Batcher
from goodcert.serve.batching.lanes import QueueLimits
from goodcert.serve.core.errors import UnknownModel, UnsoundModel
from goodcert.serve.repository.loader import Loader
from goodcert.serve.repository.repository import Repository
from goodcert.serve.settings.settings import SettingsError


@pytest.fixture
def load(fake_compile):
    """Loads a folder; what it made is closed after the test."""
    made = []

    def load_it(root, only=()):
        loader = Loader(fake_compile, "cpu", None, *[lambda work, *_: Batcher(work, QueueLimits())] * 2)
        repository = Repository.open(root, loader, only)
        made.append(repository)
        return repository

    yield load_it
    for repository in made:
        asyncio.run(repository.close())


def reasons(repository):
    return {(refused.name, refused.version): refused.reason for refused in repository.refused}


def test_the_newest_version_by_number_is_the_default(tmp_path, write_model, load):
    for version in ("2", "10", "9"):
        write_model(tmp_path, version=version)
    repository = load(tmp_path)
    assert repository.get("tiny").version == "10"
    assert [model.version for model in repository.versions("tiny")] == ["10", "9", "2"]
    assert repository.get("tiny", "2").version == "2"
    assert repository.ready()


@pytest.mark.parametrize(("name", "version"), [("other", None), ("tiny", "7"), ("../tiny", None), ("tiny", "01")])
def test_what_is_not_there_is_unknown(tmp_path, write_model, load, name, version):
    write_model(tmp_path)
    with pytest.raises(UnknownModel):
        load(tmp_path).get(name, version)


def test_only_the_models_that_are_named_are_served(tmp_path, write_model, load):
    write_model(tmp_path, "wanted")
    write_model(tmp_path, "other")
    repository = load(tmp_path, only=["wanted"])
    assert repository.names == {"wanted"}
    with pytest.raises(UnknownModel):
        asyncio.run(repository.load("other"))
    with pytest.raises(SettingsError, match=r"got \['else'\], expected some of \['other', 'wanted'\]"):
        load(tmp_path, only=["wanted", "else"])


def test_a_refused_model_leaves_the_others_served(tmp_path, write_model, make_graph, load):
    write_model(tmp_path, "good")
    write_model(tmp_path, "bad", graph=make_graph(name="refuse"))
    repository = load(tmp_path)
    assert repository.names == {"good"}
    assert "Loop" in reasons(repository)["bad", "1"]
    assert repository.ready()


def test_a_crash_while_loading_is_refused_without_its_text(tmp_path, write_model, make_graph, load):
    write_model(tmp_path, "bad", graph=make_graph(name="crash"))
    repository = load(tmp_path)
    assert "secret" not in reasons(repository)["bad", "1"]
    assert not repository.ready()


def test_a_file_that_is_no_model_is_refused(tmp_path, load):
    path = tmp_path / "junk" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"junk")
    assert ("junk", "1") in reasons(load(tmp_path))


def test_a_version_without_its_file_is_refused(tmp_path, load):
    (tmp_path / "empty" / "1").mkdir(parents=True)
    assert "model.onnx" in reasons(load(tmp_path))["empty", "1"]


@pytest.mark.parametrize("changes", [{"labels": tuple("abcd")}, {"height": 5}, {"color": "rgb"}])
def test_metadata_that_disagree_with_the_graph_are_refused(tmp_path, write_model, make_graph, load, changes):
    write_model(tmp_path, graph=make_graph(), **changes)
    assert "the graph has" in reasons(load(tmp_path))["tiny", "1"]


def test_a_default_epsilon_that_cannot_be_is_refused(tmp_path, write_model, load):
    write_model(tmp_path, epsilon="2")
    assert "epsilon" in reasons(load(tmp_path))["tiny", "1"]


@pytest.mark.parametrize(("name", "version"), [("Tiny", "1"), ("tiny", "v1"), ("tiny", "01"), ("-tiny", "1")])
def test_improper_names_are_refused(tmp_path, write_model, load, name, version):
    write_model(tmp_path, name, version)
    assert (name, version) in reasons(load(tmp_path))


def test_hidden_and_private_folders_are_not_looked_at(tmp_path, write_model, load):
    for name in (".git", "__pycache__"):
        write_model(tmp_path, name)
    repository = load(tmp_path)
    assert not repository.names
    assert not repository.refused


def test_a_link_out_of_the_folder_is_refused(tmp_path, write_model, load):
    outside = write_model(tmp_path / "outside")
    inside = tmp_path / "models" / "tiny" / "1"
    inside.mkdir(parents=True)
    (inside / "model.onnx").symlink_to(outside)
    assert "link" in reasons(load(tmp_path / "models"))["tiny", "1"]


def test_a_missing_folder_is_a_setting_to_correct(tmp_path, load):
    with pytest.raises(SettingsError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_an_unsound_model_takes_the_service_out_of_ready(tmp_path, write_model, load):
    write_model(tmp_path, "one")
    write_model(tmp_path, "two")
    repository = load(tmp_path)
    repository.get("one").condemn("a test")
    assert not repository.ready()
    repository.get("two").require_sound()
    with pytest.raises(UnsoundModel):
        repository.get("one").require_sound()
