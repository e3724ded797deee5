"""Downloads from a server on this machine: checked, kept, refused when damaged, and read to packs."""

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from goodcert.data import packs
from goodcert.data.sources import SOURCES, File, Source, cifar, fetch, idx, letters, matlab, signs

random = np.random.default_rng(0)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        self.server.served += 1  # type: ignore[attr-defined]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """Serves what is in <tmp_path>/served; counts its answers."""
    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as made:
        made.served = 0  # type: ignore[attr-defined]
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def offer(
    server: ThreadingHTTPServer, folder: Path, name: str, data: bytes, promised: bytes | None = None
) -> File:
    (folder / "served" / name).write_bytes(data)
    digest = hashlib.sha256(data if promised is None else promised).hexdigest()
    return File(f"http://127.0.0.1:{server.server_port}/{name}", f"sha256:{digest}")


def idx_file(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return gzip.compress(header + values.astype(np.uint8).tobytes())


IMAGES, LABELS = random.integers(0, 256, (4, 3, 2)), np.array([7, 0, 1, 9])


def test_a_source_becomes_a_pack(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    files = [offer(server, tmp_path, f"{i}.gz", idx_file(x)) for i, x in enumerate((IMAGES, LABELS))]
    path = fetch("digits", tmp_path, {"digits": Source(tuple(files), idx)})
    assert path == tmp_path / "digits.npz"
    pack = packs.load(tmp_path, "digits")
    assert np.array_equal(pack.images, IMAGES)
    assert pack.labels is not None
    assert np.array_equal(pack.labels, LABELS)
    assert pack.labels.dtype == np.int64


def test_a_damaged_download_is_refused_and_not_kept(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    whole = idx_file(IMAGES)
    broken = offer(server, tmp_path, "0.gz", whole[:-1], promised=whole)
    labels = offer(server, tmp_path, "1.gz", idx_file(LABELS))
    sources = {"digits": Source((broken, labels), idx)}
    with pytest.raises(ValueError, match=r"(?s)0\.gz.*hash"):
        fetch("digits", tmp_path, sources)
    assert not (tmp_path / "digits.npz").exists()
    offer(server, tmp_path, "0.gz", whole)  # the server is mended: the next try fetches anew
    assert fetch("digits", tmp_path, sources).exists()


def test_what_was_downloaded_is_not_fetched_again_unless_it_changed(
    server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    files = [offer(server, tmp_path, f"{i}.gz", idx_file(x)) for i, x in enumerate((IMAGES, LABELS))]
    sources = {"digits": Source(tuple(files), idx)}
    fetch("digits", tmp_path, sources)
    once = server.served  # type: ignore[attr-defined]
    fetch("digits", tmp_path, sources)
    assert server.served == once  # type: ignore[attr-defined]
    (kept,) = (tmp_path / "downloads").glob("*0.gz")
    kept.write_bytes(b"rotten on disk")
    fetch("digits", tmp_path, sources)
    assert server.served > once  # type: ignore[attr-defined]
    assert np.array_equal(packs.load(tmp_path, "digits").images, IMAGES)


def test_files_of_one_name_from_two_places_are_both_kept(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    """MNIST's and Fashion-MNIST's are called the same."""
    places = {name: tmp_path / "served" / name for name in ("digits", "clothes")}
    for name, place in places.items():
        place.mkdir()
        values = (IMAGES if name == "digits" else IMAGES[::-1], LABELS)
        files = [offer(server, tmp_path, f"{name}/{i}.gz", idx_file(x)) for i, x in enumerate(values)]
        fetch(name, tmp_path, {name: Source(tuple(files), idx)})
    assert len(list((tmp_path / "downloads").glob("*0.gz"))) == 2


def test_a_file_that_is_not_there_says_so(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    file = offer(server, tmp_path, "0.gz", b"")
    (tmp_path / "served" / "0.gz").unlink()
    with pytest.raises(OSError, match="404"):
        fetch("digits", tmp_path, {"digits": Source((file,), idx)})


def test_cifars_planes_become_pixels_and_its_batches_keep_their_order(tmp_path: Path) -> None:
    images = random.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    rows = [bytes([i]) + image.transpose(2, 0, 1).tobytes() for i, image in enumerate(images)]
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        for name, batch in (("data_batch_2", rows[2:4]), ("data_batch_1", rows[:2]), ("test_batch", rows[4:])):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            info.size = len(b"".join(batch))
            archive.addfile(info, io.BytesIO(b"".join(batch)))
    train = cifar(r"data_batch_\d\.bin$")(tmp_path / "c.tar.gz")
    assert np.array_equal(train.images, images[:4])
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 2, 3]
    assert np.array_equal(cifar(r"test_batch\.bin$")(tmp_path / "c.tar.gz").images, images[4:])


def test_cifar_100_has_two_labels_of_which_the_fine_one_counts(tmp_path: Path) -> None:
    images = random.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    rows = b"".join(bytes([9, i]) + image.transpose(2, 0, 1).tobytes() for i, image in enumerate(images))
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("cifar-100-binary/test.bin")
        info.size = len(rows)
        archive.addfile(info, io.BytesIO(rows))
    pack = cifar(r"/test\.bin$", labels=2)(tmp_path / "c.tar.gz")
    assert np.array_equal(pack.images, images)
    assert pack.labels is not None
    assert pack.labels.tolist() == [0, 1]


def test_emnists_letters_stand_upright_and_a_is_0(tmp_path: Path) -> None:
    images = random.integers(0, 256, (2, 28, 28))
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("gzip/images.gz", idx_file(images.transpose(0, 2, 1)))
        archive.writestr("gzip/labels.gz", idx_file(np.array([1, 26])))
    pack = letters("gzip/images.gz", "gzip/labels.gz")(tmp_path / "e.zip")
    assert np.array_equal(pack.images, images)
    assert pack.labels is not None
    assert pack.labels.tolist() == [0, 25]


def test_svhns_ten_is_the_digit_zero(tmp_path: Path) -> None:
    images = random.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    savemat(tmp_path / "s.mat", {"X": images.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [9]])})
    pack = matlab(tmp_path / "s.mat")
    assert np.array_equal(pack.images, images)
    assert pack.labels is not None
    assert pack.labels.tolist() == [0, 1, 9]


def test_signs_are_labelled_by_their_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        for label, shade in ((0, 10), (42, 200)):
            data = io.BytesIO()
            Image.new("RGB", (40, 50), (shade,) * 3).save(data, "PPM")
            archive.writestr(f"GTSRB/Training/{label:05}/00000_00000.ppm", data.getvalue())
        archive.writestr("GTSRB/Training/00000/GT-00000.csv", "")
    pack = signs(tmp_path / "g.zip")
    assert pack.images.shape == (2, 32, 32, 3)
    assert pack.labels is not None
    shades = zip(pack.labels.tolist(), pack.images[:, 0, 0, 0].tolist(), strict=True)
    assert sorted(shades) == [(0, 10), (42, 200)]


def test_photos_of_one_sign_stay_together_and_the_last_signs_are_of_many_classes(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "PPM")
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        for label in range(8):
            for name in (f"{sign:05}_{photo:05}" for sign in range(10) for photo in range(3)):
                archive.writestr(f"GTSRB/Training/{label:05}/{name}.ppm", data.getvalue())
    labels = signs(tmp_path / "g.zip").labels
    assert labels is not None
    in_threes = labels.reshape(80, 3)
    assert (in_threes == in_threes[:, :1]).all()
    assert len(set(in_threes[-20:, 0])) > 4


def test_every_official_file_has_a_checksum() -> None:
    for source in SOURCES.values():
        for file in source.files:
            algorithm, _, digest = file.checksum.partition(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
