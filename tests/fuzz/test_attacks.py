"""Files that were made to do harm: each is one clear error, in little memory and no time."""

import gzip
import io
import json
import os
import resource
import signal
import socket
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from PIL import Image

import smalti as sm
from smalti.cli.data import open_bags
from smalti.errors import InputError
from smalti.io.matrix_10x import read_counts
from smalti.system.arrays import read_npy
from smalti.system.reading import read_json
from smalti.system.tables import read_table
from smalti.tiles.open import open_image

pytestmark = pytest.mark.slow  # each file is one that some reader once believed

HUGE = 10**12


@pytest.fixture(autouse=True)
def _little_memory_and_time():
    """Half a GiB more than the process has, and ten seconds."""

    def late(*_):
        raise TimeoutError("reading did not end")

    before, kept = signal.signal(signal.SIGALRM, late), resource.getrlimit(resource.RLIMIT_AS)
    signal.alarm(10)
    have = Path("/proc/self/statm")
    if have.exists():
        most = int(have.read_text().split()[0]) * resource.getpagesize() + 2**29
        resource.setrlimit(resource.RLIMIT_AS, (most, kept[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, kept)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(read, file, says):
    """One clear error that names the file, which stays as it was."""
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(InputError, match=says) as error:
        read(file)
    assert file.name in str(error.value)
    assert before is None or file.read_bytes() == before


def features(file):
    labels = pd.DataFrame({"slide": [file.stem], "y": ["a"], "donor": ["d"]})
    return sm.read_features(file.parent, labels, donor="donor", in_memory=True)


def cells(file):
    return sm.read(file, sample="sample", donor="sample", x="X")


def table_of(n=6, dense=False):
    x = np.arange(4.0 * n).reshape(n, 4) % 3
    obs = pd.DataFrame(
        {"sample": pd.Categorical(list("aabbcc"))}, index=[f"c{i}" for i in range(n)]
    )
    return AnnData(x if dense else sp.csr_matrix(x), obs=obs)


# ---------------------------------------------------------------- what is no file with an end

READERS = {
    "a.h5ad": cells, "a.h5mu": cells, "a.h5": read_counts, "a.csv": read_table,
    "a.parquet": read_table, "a.gmt": sm.genes.read_gmt, "a.safetensors": sm.genes.read_vectors,
    "a.tsv.gz": sm.genes.read_vectors, "a.png": open_image, "a.tif": open_image,
    "a.svs": open_image, "a.npz": open_bags, "a.npy": read_npy, "a.json": read_json,
}  # fmt: skip


def _fifo(file):
    os.mkfifo(file)


def _socket(file):
    socket.socket(socket.AF_UNIX).bind(str(file))


WRONG = {
    "fifo": (_fifo, "pipe, device or socket"),
    "socket": (_socket, "pipe, device or socket"),
    "endless": (lambda f: f.symlink_to("/dev/zero"), "pipe, device or socket"),
    "folder": (lambda f: f.mkdir(), "folder|no such table|no filtered|has no features"),
    "linked folder": (lambda f: f.symlink_to(f.parent), "folder|holds|has no"),
    "circle": (lambda f: f.symlink_to(f), "cannot be opened|no file|missing"),
    "empty": (lambda f: f.touch(), "empty"),
    "nothing": (lambda f: None, "no file|no image"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", READERS)
def test_no_plain_file(name, wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    make, says = WRONG[wrong]
    make(Path(name))
    refused(READERS[name], Path(name), says)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / name).chmod(0)
    refused(READERS[name], tmp_path / name, "may not be read|cannot be opened")


# ---------------------------------------------------------------- HDF5


def _outside(tmp_path):
    """A file of features that nobody named."""
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["features"] = np.ones((3, 2), np.float32)
    (tmp_path / "secret").write_bytes(bytes(24))
    return tmp_path / "other.hdf5"


def _external_link(file, tmp_path):
    file["features"] = h5py.ExternalLink(str(_outside(tmp_path)), "/features")


def _soft_to_external(file, tmp_path):
    file["out"] = h5py.ExternalLink(str(_outside(tmp_path)), "/")
    file["features"] = h5py.SoftLink("/out/features")


def _external_storage(file, tmp_path):
    _outside(tmp_path)
    file.create_dataset("features", (3, 2), np.float32,
                        external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)])  # fmt: skip


def _virtual(file, tmp_path):
    layout = h5py.VirtualLayout((3, 2), np.float32)
    layout[:] = h5py.VirtualSource(str(_outside(tmp_path)), "features", (3, 2))
    file.create_virtual_dataset("features", layout)


def _circle(file, tmp_path):
    file["features"] = h5py.SoftLink("/b")
    file["b"] = h5py.SoftLink("/features")


def _declared(file, tmp_path):
    file.create_dataset("features", (HUGE, 2), np.float32, chunks=(1024, 2))


def _declared_and_packed(file, tmp_path):
    data = file.create_dataset("features", (HUGE, 2), np.float32, chunks=(1024, 2), compression=9)
    data[:9] = 1


def _one_huge_piece(file, tmp_path):
    file.create_dataset("features", (2**27, 2), np.float32, chunks=(2**27, 2), compression=1)


def _never_written(file, tmp_path):
    file.create_dataset("features", (9, 2), np.float32)


def _partly_written(file, tmp_path):
    file.create_dataset("features", (9, 2), np.float32, chunks=(3, 2))[:3] = 1


HDF5 = {
    _external_link: "link to another file", _soft_to_external: "link to another file",
    _external_storage: "values in another file", _virtual: "values in another file",
    _circle: "leads in a circle", _declared: "says to be", _declared_and_packed: "says to be",
    _one_huge_piece: "says to be", _never_written: "not written as a whole",
    _partly_written: "2 of 3 pieces are missing",
}  # fmt: skip


@pytest.mark.parametrize("attack", HDF5, ids=lambda f: f.__name__)
def test_hdf5_of_features(attack, tmp_path):
    (tmp_path / "f").mkdir()
    with h5py.File(tmp_path / "f" / "s.h5", "w") as file:
        attack(file, tmp_path)
    refused(features, tmp_path / "f" / "s.h5", f"features.*{HDF5[attack]}|{HDF5[attack]}.*features")


@pytest.mark.parametrize("attack", HDF5, ids=lambda f: f.__name__)
@pytest.mark.parametrize("place", ["X/indices", "obs/sample/codes", "var/_index", "mod"])
def test_hdf5_of_cells(attack, place, tmp_path):
    """The same in any part that is read."""
    path = tmp_path / ("a.h5mu" if place == "mod" else "a.h5ad")
    table_of().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        attack(file, tmp_path)
        attributes = dict(file[place].attrs) if place in file else {}
        if place in file:
            del file[place]
        if isinstance(file.get("features", getlink=True), h5py.HardLink):
            file.move("features", place)
            file[place].attrs.update(attributes)
        else:
            file[place] = file.get("features", getlink=True)
    refused(lambda f: sm.read(f, sample="sample", donor="sample"), path, ".")


def test_a_group_that_holds_itself(tmp_path):
    table_of().write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["obs/again"] = file["obs"]
        file["obs"].attrs["column-order"] = ["sample", "again"]
    refused(cells, tmp_path / "a.h5ad", "damaged")


@pytest.mark.parametrize("chunks", [None, (4,)])
def test_a_text_that_says_to_be_longer_than_its_file(chunks, tmp_path):
    """HDF5 would take the memory first: 2 GB for a file of some kB."""
    path = tmp_path / "a.h5ad"
    table_of().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        names, attributes = file["obs/_index"][:], dict(file["obs/_index"].attrs)
        del file["obs/_index"]
        data = file.create_dataset("obs/_index", data=names, dtype=h5py.string_dtype(),
                                   chunks=chunks)  # fmt: skip
        data.attrs.update(attributes)
        last = data.id.get_num_chunks() - 1 if chunks else None
        place = data.id.get_chunk_info(last).byte_offset if chunks else data.id.get_offset()
    assert sm.read(path, sample="sample").n_instances
    with path.open("r+b") as file:
        file.seek(place)
        file.write((2**31 - 1).to_bytes(4, "little"))
    refused(cells, path, "/obs/_index holds a text longer than the file")


@pytest.mark.parametrize(
    "change",
    [pytest.param("no size", marks=pytest.mark.slow), "no end"],  # another process has 5 s to end
)
def test_a_heap_of_texts_without_end(change, tmp_path):
    """HDF5 would step from one text to the next for ever."""
    table_of().write_h5ad(tmp_path / "a.h5ad")
    data = bytearray((tmp_path / "a.h5ad").read_bytes())
    at = data.index(b"GCOL\x01")  # of its first object: place (2 bytes), uses, size (8 bytes)
    if change == "no size":
        data[at + 16 : at + 32] = bytes(16)
    else:
        data[at + 24 : at + 32] = b"\xff" * 7 + b"\xf0"[:1]
    (tmp_path / "a.h5ad").write_bytes(data)
    refused(cells, tmp_path / "a.h5ad", "damaged")


def test_a_heap_without_end_that_only_the_file_itself_reads(tmp_path):
    """Attributes of the whole file, as STAMP writes its unit, are no item of it."""
    path = tmp_path / "s1.h5"
    with h5py.File(path, "w") as file:
        file["feats"], file["coords"] = np.zeros((4, 8), np.float32), np.zeros((4, 2))
        file.attrs["unit"] = "um"
    assert features(path).n_instances == 4
    data = bytearray(path.read_bytes())
    at = data.index(b"GCOL\x01")
    data[at + 24 :] = bytes(len(data) - at - 24)
    path.write_bytes(data)
    refused(features, path, "a heap of texts")


def test_what_is_left_of_a_heap_is_no_damage(tmp_path):
    """Other data lie on a heap that is used no more: HDF5 never looks there, and all is read."""
    table_of().write_h5ad(tmp_path / "a.h5ad")
    whole = cells(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["uns/left"] = np.frombuffer(b"GCOL\x01" + bytes(251), np.uint8)
    again = cells(tmp_path / "a.h5ad")
    assert (whole.x["X"] != again.x["X"]).nnz == 0


SPARSE = {
    "negative": ("indices", lambda v: v * 0 - 1), "beyond": ("indices", lambda v: v + 10**6),
    "twice": ("indices", lambda v: v * 0), "falls": ("indptr", lambda v: v[::-1].copy()),
    "short": ("indptr", lambda v: v[:-1]), "long data": ("data", lambda v: np.r_[v, v]),
    "floats": ("indices", lambda v: v + 0.5), "texts": ("data", lambda v: v.astype("S")),
    "two-dimensional": ("indptr", lambda v: v[:, None]),
}  # fmt: skip


@pytest.mark.parametrize("attack", SPARSE)
@pytest.mark.parametrize("kind", ["h5ad", "zarr", "10x"])
def test_sparse_matrices(attack, kind, tmp_path):
    """Each reader of them has the checks."""
    name, change = SPARSE[attack]
    path = tmp_path / f"a.{kind.replace('10x', 'h5')}"
    matrix = table_of().X
    parts = {k: getattr(matrix, k) for k in ("data", "indices", "indptr")}
    parts[name] = change(parts[name])
    if kind == "10x":
        with h5py.File(path, "w") as file:
            for key, values in parts.items():
                file[f"matrix/{key}"] = values
            file["matrix/shape"] = matrix.shape[::-1]
            file["matrix/barcodes"] = np.array([f"b{i}" for i in range(6)], "S")
            file["matrix/features/name"] = np.array(list("abcd"), "S")
            file["matrix/features/feature_type"] = np.array(["Gene Expression"] * 4, "S")
        refused(read_counts, path, name)
        return
    if kind == "h5ad":
        table_of().write_h5ad(path)
        with h5py.File(path, "r+") as file:
            del file[f"X/{name}"]
            file[f"X/{name}"] = parts[name]
    else:
        if attack == "texts":
            parts[name] = parts[name].astype("<U3")
        _rewritten(_zarr(tmp_path, table_of()), f"X/{name}", parts[name])
    refused(cells, path, name)


def _rewritten(store, key, values):
    """Another array in the place of one."""
    import zarr

    for note in store.glob(".zmetadata"):  # which would still tell of the old one
        note.unlink()
    group = zarr.open_group(str(store), mode="r+")
    del group[key]
    group.create_array(key, shape=values.shape, dtype=values.dtype)[...] = values


# ---------------------------------------------------------------- zarr


def _zarr(tmp_path, table):
    table.write_zarr(tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


def _chunk(folder):
    return next(p for p in sorted(folder.rglob("*"))
                if p.is_file() and p.name[0] not in ".z")  # fmt: skip


@pytest.mark.parametrize(
    ("place", "says"),
    [("X/data", "X/data lacks 1 pieces"), ("X/indices", "name a place twice"),
     ("obs/sample/codes", "sample lacks 1 pieces, and no row is 'b'"),
     ("obs/_index", "6 rows have no name"), ("X/indptr", "indptr goes from")],
)  # fmt: skip
def test_lost_chunks_of_zarr(place, says, tmp_path):
    path = _zarr(tmp_path, table_of())
    _chunk(path / place).unlink()
    refused(cells, path, says)


def test_chunks_that_zarr_leaves_out_are_no_loss(tmp_path):
    """One category, one value throughout: zarr writes no chunk of it."""
    table = table_of()
    table.obs["sample"] = pd.Categorical(["a"] * 6)
    table.obs["depth"] = np.zeros(6)
    bags = cells(_zarr(tmp_path, table))
    assert len(bags) == 1
    assert (bags.instance["depth"] == 0).all()


@pytest.mark.parametrize("place", ["X/data", "obs/_index"])
@pytest.mark.parametrize("wrong", ["fifo", "outside", "huge"])
def test_stores_that_lead_elsewhere(place, wrong, tmp_path):
    path = _zarr(tmp_path, table_of())
    chunk = _chunk(path / place)
    if wrong == "huge":
        note = next(p for p in ((path / place / ".zarray"), (path / place / "zarr.json"))
                    if p.exists())  # fmt: skip
        said = json.loads(note.read_text())
        said["shape"] = said["chunks" if "chunks" in said else "shape"] = [HUGE]
        note.write_text(json.dumps(said))
        (path / ".zmetadata").unlink(missing_ok=True)
    else:
        data = chunk.read_bytes()
        chunk.unlink()
        if wrong == "fifo":
            os.mkfifo(chunk)
        else:
            (tmp_path / "secret").write_bytes(data)
            chunk.symlink_to(tmp_path / "secret")
    refused(cells, path, {"fifo": "no plain file", "outside": "link to another place",
                          "huge": "says to be"}[wrong])  # fmt: skip


# ---------------------------------------------------------------- packed files


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was opened')",))


def _npz(path, arrays=(), raw=(), **how):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as folder:
        for name, values in dict(arrays).items():
            out = io.BytesIO()
            np.save(out, values, **how)
            folder.writestr(name, out.getvalue())
        for name, data in dict(raw).items():
            folder.writestr(name, data)


def _header(shape, descr="<f8"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


ROWS = {"x.npy": np.ones((4, 2)), "bag.npy": np.array(list("aabb"))}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arrays": ROWS | {"x.npy": np.array([_Bomb()], object)}}, "'x'.*objects"),
        ({"raw": {"x.npy": b"cposix\nsystem\n(S'false'\ntR."}}, "'x'"),
        ({"raw": {"x.npy": _header((HUGE, 2))}}, "'x'.*says to hold"),
        ({"raw": {"x.npy": _header((-3, 2))}}, "'x'"),
        ({"raw": {"x.npy": _header((2**31, 2**33))}}, "'x'.*says to hold"),
        ({"raw": {"x.npy": _header((2**20, 10)) + bytes(80 * 2**20)}}, "'x'.*says to be"),
        ({"arrays": ROWS, "raw": {"../../x.npy": _header((0,))}}, r"\.\./\.\./x.*no array"),
        ({"arrays": ROWS, "raw": {"/etc/x.npy": _header((0,))}}, "no array"),
        ({"arrays": ROWS, "raw": {"run.py": b"1"}}, "no array"),
        ({"raw": {"x.npy": _header((4,)) + bytes(33)}}, "'x'.*says to hold 32 bytes"),
    ],
    ids=["objects", "pickle", "declared", "negative", "overflow", "bomb", "traversal", "absolute",
         "stranger", "longer"],
)  # fmt: skip
def test_npz(change, says, tmp_path):
    _npz(tmp_path / "a.npz", allow_pickle=True, **change)
    refused(open_bags, tmp_path / "a.npz", says)


@pytest.mark.parametrize(
    ("data", "says"),
    [(_header((HUGE,)), "says to hold"), (_header((4,)) + bytes(31), "says to hold 32"),
     (_header((4,), "|O") + bytes(32), "objects"), (b"(" * 5000, "damaged"),
     (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, "damaged")],
)  # fmt: skip
def test_npy(data, says, tmp_path):
    (tmp_path / "a.npy").write_bytes(data)
    refused(read_npy, tmp_path / "a.npy", says)


@pytest.mark.parametrize("name", ["a.gmt.gz", "a.csv.gz", "matrix.mtx.gz"])
def test_gzip_bombs(name, tmp_path):
    line = {"a.gmt.gz": b"S\td\tG\n", "a.csv.gz": b"gene,x\n"}.get(name, b"%%MatrixMarket matrix\n")
    (tmp_path / name).write_bytes(gzip.compress(line) + 80 * gzip.compress(b" " * 2**20))
    read = {"a.gmt.gz": sm.genes.read_gmt, "a.csv.gz": sm.genes.read_vectors}.get(name)
    if read is None:
        for other in ("features.tsv", "barcodes.tsv"):
            (tmp_path / other).write_text("a\tb\n")
        read = lambda f: read_counts(f.parent)  # noqa: E731
    refused(read, tmp_path / name, "says to be")


def test_a_matrix_that_declares_more_than_it_holds(tmp_path):
    (tmp_path / "features.tsv").write_text("E1\tA\nE2\tB\n")
    (tmp_path / "barcodes.tsv").write_text("x\ny\n")
    file = tmp_path / "matrix.mtx"
    for size in (f"2 2 {HUGE}", f"{HUGE} 2 1", "2 2 2"):
        file.write_text(f"%%MatrixMarket matrix coordinate integer general\n{size}\n1 1 3\n")
        refused(lambda f: read_counts(f.parent), file, "says to be|holds a matrix|damaged")
    file.write_text("%%MatrixMarket matrix coordinate integer general\n2 2 2\n1 1 3\n1 1 4\n")
    refused(lambda f: read_counts(f.parent), file, "1 places twice")


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a," * 10**6 + b"a\n1\n", "line 1: 1,000,0.. columns"),
        (b"gene,x\nA,1\nB\0,2\n", "line 3: a NUL"),
        ("gene,x\nA,1\n".encode("utf-16"), "NUL|no text in UTF-8"),
        ("gene,x\nA,1\nÄ,2\n".encode("latin-1"), "line 3: no text in UTF-8"),
        (b'gene,x\nA,1\n"B,2\n', "line|row"),
        (b"gene,x\nA,1\nB,2,3\n", "line 3"),
    ],
    ids=["columns", "nul", "utf-16", "latin-1", "quote", "ragged"],
)
@pytest.mark.parametrize("read", [read_table, sm.genes.read_vectors, sm.comparison.given_folds],
                         ids=lambda f: f.__name__)  # fmt: skip
def test_tables(read, data, says, tmp_path):
    (tmp_path / "a.csv").write_bytes(data)
    if read is sm.comparison.given_folds:
        bags = sm.datasets.planted_bags(4)
        refused(lambda f: read(bags, f), tmp_path / "a.csv", says)
    else:
        refused(read, tmp_path / "a.csv", says)


def test_texts_with_a_mark_of_their_order_are_read(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufeffgene,x\nA,1\n".encode())
    assert list(read_table(tmp_path / "a.csv")) == ["gene", "x"]


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a": NaN}', '{"a": Infinity}', '{"a": 1', "\0"])
def test_json(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    refused(read_json, tmp_path / "a.json", "damaged|NUL")


@pytest.mark.parametrize("text", ["[" * 10**5, '{"method": ' * 10**4, "[]", "NaN", '"x"'])
def test_the_note_of_a_model(text, tmp_path):
    (tmp_path / "model.json").write_text(text)
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    refused(lambda f: sm.load(f.parent), tmp_path / "model.json", "damaged")


# ---------------------------------------------------------------- pictures


def _png(width, height, rows=b""):
    def part(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows, 9))
            + part(b"IEND", b""))  # fmt: skip


def _tiff(tags, following=0):
    """A little-endian TIFF of one directory: tag -> (type, value)."""
    out = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    for tag, (kind, value) in sorted(tags.items()):
        out += struct.pack("<HHII", tag, kind, 1, value)
    return out + struct.pack("<I", following)


GREY = {256: (4, 8), 257: (4, 8), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 0), 277: (3, 1),
        278: (4, 8), 279: (4, 64)}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.png", _png(60_000, 60_000, bytes(2**20)), "says to be"),
        ("a.png", _png(2**31 - 1, 2**31 - 1), "says to be|damaged"),
        ("a.tif", _tiff(GREY | {256: (4, 2**31), 257: (4, 2**31)}), "says to be"),
        ("a.tif", _tiff(GREY | {256: (4, 0)}), "damaged"),
        ("a.tif", _tiff(GREY | {279: (4, 2**32 - 1)}), "cut short"),
        ("a.tif", _tiff(GREY | {273: (4, 2**32 - 9)}), "cut short"),
        ("a.tif", _tiff(GREY | {279: (4, 10**6)}, following=8), "cut short"),
        ("a.tif", b"II*\0\x08\0\0\0", "damaged"),
        ("a.bmp", b"BM" + struct.pack("<IIIIiiHHIIIIII", 10**9, 0, 54, 40, 10**5, 10**5, 1, 24, 0,
                                      0, 0, 0, 0, 0), "says to be"),
    ],
)  # fmt: skip
def test_pictures(name, data, says, tmp_path):
    (tmp_path / name).write_bytes(data)
    refused(lambda f: open_image(f).whole(), tmp_path / name, says)


def test_directories_in_a_circle(tmp_path):
    """Each names the next, the last the first: a picture that can be read is."""
    (tmp_path / "a.tif").write_bytes(_tiff(GREY | {273: (4, 8)}, following=8))
    assert open_image(tmp_path / "a.tif").whole().shape == (8, 8, 3)


# ---------------------------------------------------------------- places that are none


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_coordinates_of_features(bad, tmp_path):
    (tmp_path / "f").mkdir()
    with h5py.File(tmp_path / "f" / "s.h5", "w") as file:
        file["features"] = np.ones((3, 2), np.float32)
        file["coords"] = np.array([[0, 0], [1, bad], [2, 2]])
    refused(features, tmp_path / "f" / "s.h5", "coords of tile 1")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_coordinates_of_spots(bad, tmp_path):
    table = table_of(dense=True)
    table.obsm["spatial"] = np.array([[1.0, 2.0]] * 5 + [[bad, 1.0]])
    table.write_h5ad(tmp_path / "a.h5ad")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "p.png")
    refused(lambda f: sm.read_slides(f, images=tmp_path / "p.png", progress=False),
            tmp_path / "a.h5ad", "1 spots of .* have no position")  # fmt: skip
