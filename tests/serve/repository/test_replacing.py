"""Models come, go and change while they are asked: nothing is lost, and what is broken displaces nothing."""

import asyncio
import ctypes
import gc
import shutil
import threading
import weakref
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from goodcert import engine
from goodcert.artifact import write
from goodcert.images.decode import Decoded
from goodcert.images.preprocess import prepare
from goodcert.serve.batching.batcher import Batcher
from goodcert.serve.batching.lanes import QueueLimits
from goodcert.serve.core.errors import UnknownModel
from goodcert.serve.repository.loader import Loader
from goodcert.serve.repository.repository import ModelRefused, Repository
from graphs import onnx_model


def batchers():
    return [lambda work, *_: Batcher(work, QueueLimits())] * 2


@pytest.fixture
def opened(tmp_path, fake_compile):
    """The repository of tmp_path, closed at the end; on an event loop."""

    @asynccontextmanager
    async def open_it():
        repository = Repository.open(tmp_path, Loader(fake_compile, "cpu", None, *batchers()))
        yield repository
        await repository.close()

    return open_it


def ask(model, deadline=30):
    """One request, begun: whoever waits for it holds its model."""

    async def certify(model):
        pixels = np.zeros(model.engine.input_shape[1:], np.uint8)
        image = Decoded(pixels, "PNG", pixels.shape[1], pixels.shape[0], "", True)
        prepared = prepare(image, model.metadata, 0.0)
        by = asyncio.get_running_loop().time() + deadline
        return await model.batcher.submit(prepared, size_bytes=1, deadline=by)

    return asyncio.create_task(certify(model))


async def entered(engine_):
    assert await asyncio.to_thread(engine_.entered.wait, 30)


def reasons(repository):
    return {(refused.name, refused.version): refused.reason for refused in repository.refused}


def test_a_new_version_is_served_once_it_is_loaded(tmp_path, write_model, opened):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            write_model(tmp_path, version="2", threshold=0.8)
            assert repository.get("tiny").version == "1"
            await repository.load("tiny")
            assert [model.version for model in repository.versions("tiny")] == ["2", "1"]
            assert repository.get("tiny").metadata.threshold == 0.8

    asyncio.run(story())


def test_a_replaced_model_answers_those_that_have_it_and_the_new_one_the_others(
    tmp_path, write_model, opened, fake_compile
):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            (old,) = fake_compile.engines
            old.gate.clear()
            running, waiting = ask(repository.get("tiny")), ask(repository.get("tiny"))
            await entered(old)
            write_model(tmp_path, threshold=0.8)
            await repository.load("tiny")
            assert await ask(repository.get("tiny"))
            assert fake_compile.engines[1].batches == [1]
            assert not running.done()
            old.gate.set()
            assert await running
            assert await waiting

    asyncio.run(story())


def test_a_request_that_has_the_model_may_still_queue_after_it_was_unloaded(tmp_path, write_model, opened):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            model = repository.get("tiny")
            unloading = asyncio.create_task(repository.unload("tiny"))
            await asyncio.sleep(0)
            with pytest.raises(UnknownModel):
                repository.get("tiny")
            assert not unloading.done()
            last = ask(model)
            del model
            assert await last
            del last
            await unloading

    asyncio.run(story())


def test_unloading_frees_the_engine_without_the_garbage_collector(tmp_path, write_model, opened, fake_compile):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            await ask(repository.get("tiny"))
            engine_ = weakref.ref(fake_compile.engines.pop())
            await repository.unload("tiny")
            assert engine_() is None

    before = set(threading.enumerate())
    gc.disable()
    try:
        asyncio.run(story())
        started = [thread for thread in threading.enumerate() if thread not in before]
        for thread in started:
            thread.join(30)
        assert not [thread for thread in started if thread.is_alive()]
    finally:
        gc.enable()


def test_what_was_unloaded_stays_so_until_it_is_loaded(tmp_path, write_model, opened):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            await repository.unload("tiny")
            await repository.refresh()
            assert not repository.ready()
            assert "on request" in reasons(repository)["tiny", "1"]
            assert [refused.state for refused in repository.refused] == ["unloaded"]
            await repository.load("tiny")
            assert repository.ready()
            assert not repository.refused

    asyncio.run(story())


def test_what_was_unloaded_before_the_start_stays_so_too(tmp_path, write_model, fake_compile):
    async def story():
        for name in ("tiny", "other"):
            write_model(tmp_path, name)
        loader = Loader(fake_compile, "cpu", None, *batchers())
        repository = Repository.open(tmp_path, loader, unloaded=["tiny"])
        await repository.refresh()
        assert repository.names == {"other"}
        assert [(refused.name, refused.state) for refused in repository.refused] == [("tiny", "unloaded")]
        await repository.load("tiny")
        assert repository.names == {"other", "tiny"}
        await repository.close()

    asyncio.run(story())


@pytest.mark.parametrize("name", ["other", "../tiny", "", "tiny/1"])
def test_what_is_not_there_can_be_neither_loaded_nor_unloaded(tmp_path, write_model, opened, name):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            for change in (repository.load, repository.unload):
                with pytest.raises(UnknownModel):
                    await change(name)

    asyncio.run(story())


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_broken_file_never_displaces_a_model_that_works(tmp_path, write_model, make_graph, opened, version):
    """Whether it is a new version or in the place of the old one."""

    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            before = repository.get("tiny")
            write_model(tmp_path, version=version, graph=make_graph(name="refuse"))
            with pytest.raises(ModelRefused, match="Loop"):
                await repository.load("tiny")
            assert repository.get("tiny") is before
            assert repository.ready()
            assert "Loop" in reasons(repository)["tiny", version]
            assert await ask(before)
            write_model(tmp_path, version=version, threshold=0.9)
            await repository.load("tiny")
            assert repository.get("tiny").metadata.threshold == 0.9
            assert not repository.refused

    asyncio.run(story())


def test_half_a_file_is_taken_up_when_it_is_whole(tmp_path, write_model, opened):
    async def story():
        path = write_model(tmp_path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        async with opened() as repository:
            assert "ONNX" in reasons(repository)["tiny", "1"]
            path.write_bytes(whole)
            await repository.refresh()
            assert repository.ready()

    asyncio.run(story())


def test_looking_again_loads_nothing_that_did_not_change(tmp_path, write_model, opened, fake_compile):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            before = repository.get("tiny")
            await repository.refresh()
            await repository.load("tiny")
            assert repository.get("tiny") is before
            assert len(fake_compile.engines) == 1

    asyncio.run(story())


def test_a_changed_sidecar_is_a_changed_model(tmp_path, write_model, opened):
    async def story():
        path = write_model(tmp_path)
        async with opened() as repository:
            path.with_name("model.toml").write_text("")
            await repository.refresh()
            assert "beside it" in reasons(repository)["tiny", "1"]

    asyncio.run(story())


def test_a_version_whose_folder_is_gone_is_unloaded(tmp_path, write_model, opened):
    async def story():
        for version in "12":
            write_model(tmp_path, version=version)
        async with opened() as repository:
            shutil.rmtree(tmp_path / "tiny" / "2")
            await repository.refresh()
            assert [model.version for model in repository.versions("tiny")] == ["1"]
            shutil.rmtree(tmp_path / "tiny")
            await repository.refresh()
            assert not repository.names

    asyncio.run(story())


def test_a_folder_that_vanished_as_a_whole_takes_nothing_away(tmp_path, write_model, opened):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            tmp_path.rename(tmp_path.with_name("elsewhere"))
            await repository.refresh()
            assert repository.ready()

    asyncio.run(story())


def test_only_who_asks_for_it_gets_an_unsound_model_again(tmp_path, write_model, opened):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            repository.get("tiny").condemn("a test")
            await repository.refresh()
            assert not repository.ready()
            await repository.load("tiny")
            assert repository.ready()

    asyncio.run(story())


def test_polling_takes_up_what_is_new(tmp_path, write_model, opened, fake_compile):
    async def story():
        write_model(tmp_path)
        async with opened() as repository, repository.polled(0.01):
            compiled = threading.Event()
            fake_compile.on_compile = compiled.set
            write_model(tmp_path, version="2")
            assert await asyncio.to_thread(compiled.wait, 30)
            await repository.refresh()  # which waits for the one that is going on
            assert repository.get("tiny").version == "2"

    asyncio.run(story())


def test_closing_answers_those_that_have_a_replaced_model(tmp_path, write_model, opened, fake_compile):
    async def story():
        write_model(tmp_path)
        async with opened() as repository:
            (old,) = fake_compile.engines
            old.gate.clear()
            running = ask(repository.get("tiny"))
            await entered(old)
            write_model(tmp_path, threshold=0.8)
            await repository.load("tiny")
            closing = asyncio.create_task(repository.close())
            await asyncio.sleep(0)
            old.gate.set()
            await closing
            assert await running

    asyncio.run(story())


@pytest.fixture
def write_dense(tmp_path, make_metadata):
    """Writes a dense network of so many hidden neurons, 4 KiB of weights each, in the place of the last one."""

    def write_it(neurons, threshold=0.7):
        random = np.random.default_rng(0)
        shapes = {"w1": (1024, neurons), "w2": (neurons, 3)}
        constants = {
            name: random.standard_normal(shape).astype(np.float32) / 100 for name, shape in shapes.items()
        }
        dense = [("Gemm", [a, w], b, {}) for a, w, b in (("f", "w1", "h"), ("r", "w2", "y"))]
        layers = [("Flatten", ["x"], "f", {}), dense[0], ("Relu", ["h"], "r", {}), dense[1]]
        metadata = make_metadata(height=32, width=32, threshold=threshold)
        write(onnx_model(layers, constants, ["N", 1, 32, 32]), metadata, tmp_path / "tiny" / "1" / "model.onnx")

    return write_it


@pytest.fixture
def real(tmp_path):
    """A repository of tmp_path with real engines."""
    return lambda: Repository.open(tmp_path, Loader(engine.compile, "cpu", 1, *batchers()))


def resident_mebibytes():
    """Without what is garbage, and what the allocator keeps of it: of the tests before this one it may be much."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def test_a_dozen_loadings_and_unloadings_leave_no_memory_behind(write_dense, real):
    """Of 4 MiB of weights: were two of the four copies of an engine kept each time, 56 MiB would be missing."""

    async def story():
        write_dense(1024)
        repository = real()
        resident = []
        for _ in range(12):
            await ask(repository.get("tiny"), deadline=300)
            await repository.unload("tiny")
            resident.append(resident_mebibytes())
            await repository.load("tiny")
        await repository.close()
        return resident

    assert kept(asyncio.run(story())) < 40


def test_a_dozen_replacements_that_polling_found_leave_no_memory_behind(write_dense, real):
    async def story():
        write_dense(1024)
        repository = real()
        resident = []
        for number in range(12):
            await ask(repository.get("tiny"), deadline=300)
            write_dense(1024, threshold=0.5 + number / 100)
            await repository.refresh()  # which is what polling does
            await ended(repository)
            assert repository.get("tiny").metadata.threshold == 0.5 + number / 100
            resident.append(resident_mebibytes())
        await repository.close()
        return resident

    assert kept(asyncio.run(story())) < 40


def kept(resident):
    """MiB between the fifth round and the last, whatever else the process allocated in one of them."""
    return min(resident[-3:]) - min(resident[2:5])


async def ended(repository):
    """When those that were replaced have ended."""
    await asyncio.sleep(0)
    await asyncio.gather(*repository._endings)


def test_the_memory_of_a_model_goes_back_when_it_is_unloaded(write_dense, real):
    """Of 6 MiB of weights, at least two copies of them."""

    async def story():
        write_dense(1536)
        repository = real()
        await ask(repository.get("tiny"), deadline=300)
        loaded = resident_mebibytes()
        await repository.unload("tiny")
        unloaded = resident_mebibytes()
        await repository.close()
        return loaded, unloaded

    loaded, unloaded = asyncio.run(story())
    assert loaded - unloaded > 12
