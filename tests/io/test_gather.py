"""Files as users have them: which views each layout comes to, or the one sentence that it gets."""

import gzip
import shutil
import tarfile
import warnings
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import ten_x as x10

import smalti as sm
from smalti.errors import InputError

G, P, A, N = len(x10.GENES), len(x10.PROTEINS), len(x10.PEAKS), x10.N

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"),
              pytest.mark.filterwarnings("ignore:.*not unique")]  # fmt: skip


def read(data, **more):
    """Bags, and all that was said."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        bags = sm.read(data, **more)
    return bags, " ".join(bags.notes)


# ---------------------------------------------------------------- one file or folder


def rna(d):
    return x10.h5(d / "filtered_feature_bc_matrix.h5", x10.features("rna"))


def cite(d):
    return x10.h5(d / "filtered_feature_bc_matrix.h5", x10.features("rna", "protein"))


def arc(d):
    """ARC names the interval of each feature too."""
    path = x10.h5(d / "filtered_feature_bc_matrix.h5", x10.features("rna", "atac"))
    with h5py.File(path, "a") as file:
        file["matrix/features/interval"] = np.array(["chr1:1-2"] * (G + A), "S")
    return path


def arc_folder(d):
    table = x10.features("rna", "atac").assign(c="chr1", a=1, b=2)
    return x10.folder(d / "filtered_feature_bc_matrix", table, columns=6)


def atac_folder(d):
    """cellranger-atac: peaks.bed, with a line of comment, and nothing called features."""
    top = x10.folder(d / "filtered_peak_bc_matrix", x10.features("atac"), packed=False)
    (top / "features.tsv").unlink()
    (top / "peaks.bed").write_text("# made\nchr1\t10\t20\nchr1\t50\t70\nchr2\t5\t9\n")
    return d


def v2_folder(d):
    x10.folder(d / "outs" / "filtered_gene_bc_matrices" / "GRCh38", x10.features("rna"),
               packed=False, old=True, columns=2)  # fmt: skip
    return d


def outs(d):
    cite(d / "outs")
    x10.h5(d / "outs" / "raw_feature_bc_matrix.h5", x10.features("rna", "protein"))
    return d


def outs_folder(d):
    x10.folder(d / "outs" / "filtered_feature_bc_matrix", x10.features("rna", "protein"))
    return d


def multi(d):
    """cellranger multi: two samples of one run."""
    for k, sample in enumerate(("S1", "S2")):
        x10.folder(d / "outs" / "per_sample_outs" / sample / "count"
                   / "sample_filtered_feature_bc_matrix",
                   x10.features("rna", "protein"), seed=k)  # fmt: skip
    return d


def geo(d):
    """GEO: files of all samples in one folder, each with its accession before."""
    for k, prefix in enumerate(("GSM1_ctrl_", "GSM2_stim_")):
        x10.folder(d, x10.features("rna", "protein"), prefix=prefix, seed=k)
    return d


def geo_one(d):
    x10.folder(d, x10.features("rna"), prefix="GSM1_ctrl_", packed=False)
    return d / "GSM1_ctrl_matrix.mtx"


def geo_h5(d):
    for name in ("GSM1_a", "GSM2_b"):
        x10.h5(d / f"{name}_filtered_feature_bc_matrix.h5", x10.features("rna"))
    return d


def mtx(d):
    return x10.folder(d, x10.features("rna", "protein")) / "matrix.mtx.gz"


def bare(d):
    return x10.folder(d, x10.features("rna", "protein"), packed=False)


def crlf(d):
    return x10.folder(d, x10.features("rna", "protein"), packed=False, end="\r\n")


def blank(d):
    return x10.folder(d, x10.features("rna", "protein"), packed=False, blank=True)


def turned(d):
    """Barcodes in the rows, as some programs write it."""
    return x10.folder(d, x10.features("rna", "protein"), turned=True)


def two_columns(d):
    return x10.folder(d, x10.features("rna"), columns=2)


def one_column(d):
    """CITE-seq-Count: names alone."""
    return x10.folder(d, x10.features("protein")[["name"]], columns=1)


def ids_only(d):
    table = x10.features("rna")
    return x10.h5(d / "x.h5", table.assign(name=table["id"]))


def crispr(d):
    more = [("CMO301", "Multiplexing Capture"), ("g1", "CRISPR Guide Capture"), ("z", "Custom")]
    return x10.h5(d / "x.h5", x10.features("rna", "protein", more=more))


def hashtags(d):
    more = [(n, "Antibody Capture") for n in ("HTO1", "Hashtag_2_TotalSeqC", "B0251-hash-tag")]
    return x10.h5(d / "x.h5", x10.features("rna", "protein", more=more))


def cellbender(d):
    """Floats, and groups of its own beside the matrix."""
    table = x10.features("rna", "protein")
    x = x10.counts(N, G + P) * 0.9
    return x10.h5(d / "x.h5", table, x=x, extra=["droplet_latents", "metadata"])


def mixture(d):
    table = x10.features("rna")
    other = table.assign(
        id=[f"m{i}" for i in table["id"]], name=[f"mm10___{n}" for n in table["name"]]
    )
    both = pd.concat([table.assign(name="GRCh38_" + table["name"]), other])
    return x10.h5(d / "x.h5", both, genome=["GRCh38"] * G + ["mm10"] * G)


def v2_h5(d):
    return x10.old_h5(d / "x.h5")


def v2_two(d):
    return x10.old_h5(d / "x.h5", ("hg19", "mm10"))


def namesakes(d):
    table = x10.features("rna")
    return x10.h5(d / "x.h5", table.assign(name=["A1", "A1", "C3", "D4", "E5"]))


def scanpy_h5ad(d):
    """As scanpy.read_10x_h5 and write leave it."""
    import anndata

    table = x10.features("rna", "protein")
    var = pd.DataFrame({"gene_ids": table["id"].to_numpy(), "feature_types":
                        pd.Categorical(table["type"])}, index=table["name"].tolist())  # fmt: skip
    data = anndata.AnnData(sp.csr_matrix(x10.counts(N, G + P).astype("float32")),
                           obs=pd.DataFrame(index=x10.barcodes()), var=var)  # fmt: skip
    data.write_h5ad(d / "x.h5ad")
    return d / "x.h5ad"


def muon_h5mu(d):
    """As muon.read_10x_h5 and write leave it; two cells lack the protein."""
    whole = sm.gather({"rna": rna(d), "prot": x10.h5(d / "p.h5", x10.features("protein"))})
    import mudata

    parts = {"rna": whole.mod["rna"], "prot": whole.mod["prot"][:-2].copy()}
    mudata.MuData(parts).write(d / "x.h5mu")
    return d / "x.h5mu"


TWO = {"rna": G, "protein": P}
LAYOUTS = [
    (rna, {"X": G}, ""), (cite, TWO, ""), (arc, {"rna": G, "atac": A}, ""),
    (arc_folder, {"rna": G, "atac": A}, ""), (atac_folder, {"atac": A}, ""),
    (v2_folder, {"X": G}, ""), (v2_h5, {"X": G}, ""),
    (v2_two, {"X": 2 * G}, "2 genomes stand in one table .hg19 5, mm10 5."),
    (outs, TWO, ""), (outs_folder, TWO, ""), (multi, TWO, "holds 2 runs: S1, S2"),
    (geo, TWO, "holds 2 runs: GSM1_ctrl, GSM2_stim"), (geo_h5, {"X": G}, "GSM1_a, GSM2_b"),
    (geo_one, {"X": G}, ""), (mtx, TWO, ""), (bare, TWO, ""), (crlf, TWO, ""), (blank, TWO, ""),
    (turned, TWO, ""), (two_columns, {"X": G}, ""), (one_column, {"X": P}, ""),
    (ids_only, {"X": G}, ""),
    (crispr, TWO, r"Multiplexing Capture .*CRISPR Guide Capture .*Custom .* are left out"),
    (hashtags, TWO, r"Hashtags \(3 features\) .* are left out"), (cellbender, TWO, ""),
    (mixture, {"X": 2 * G}, "2 genomes"),
    (namesakes, {"X": G}, "1 names are of several features .A1.*ids"),
    (scanpy_h5ad, TWO, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "views", "said"), LAYOUTS, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_layout_has_its_views(layout, views, said, tmp_path):
    bags, notes = read(layout(tmp_path))
    assert {k: v.shape[1] for k, v in bags.x.items()} == views
    runs = 2 if layout in (multi, geo, geo_h5) else 1
    assert bags.n_instances == runs * N
    assert notes == "" if not said else pd.Series(notes).str.contains(said).all(), notes
    kinds = {"rna": "gene", "protein": "CD3", "atac": "chr1:10-20", "X": ""}
    for name in bags.x:
        assert name not in ("protein", "atac") or bags.features[name][0] == kinds[name]
    # the very numbers, in the order of the file
    if layout in (cite, outs_folder, mtx, bare, crlf, blank, turned, scanpy_h5ad):
        whole = np.concatenate([sp.csr_matrix(v).toarray() for v in bags.x.values()], axis=1)
        np.testing.assert_array_equal(whole, x10.counts(N, G + P))
        assert bags.instance.index.tolist() == x10.barcodes()


# ---------------------------------------------------------------- one clear sentence


def cut(d):
    path = cite(d)
    path.write_bytes(path.read_bytes()[:-900])
    return path


def one_number(d):
    path = cite(d)
    with h5py.File(path, "a") as file:
        file["matrix/indices"][3] = 4000
    return path


def falling(d):
    path = cite(d)
    with h5py.File(path, "a") as file:
        file["matrix/indptr"][2] = 0
    return path


def wrong_shape(d):
    path = cite(d)
    with h5py.File(path, "a") as file:
        file["matrix/shape"][:] = [G + P + 1, N]
    return path


def no_cells(d):
    return x10.h5(d / "x.h5", x10.features("rna"), cells=[], x=np.zeros((0, G)))


def twice(d):
    return x10.h5(d / "x.h5", x10.features("rna"), cells=["A-1", *x10.barcodes(N - 1)[1:], "A-1"])


def fewer_barcodes(d):
    top = bare(d)
    (top / "barcodes.tsv").write_text("\n".join(x10.barcodes(N - 2)))
    return top


def no_features(d):
    top = bare(d)
    (top / "features.tsv").unlink()
    return top


def no_barcodes(d):
    top = bare(d)
    (top / "barcodes.tsv").unlink()
    return top


def cut_mtx(d):
    top = bare(d)
    lines = (top / "matrix.mtx").read_text().splitlines()
    (top / "matrix.mtx").write_text("\n".join(lines[:-4]))
    return top


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0].replace("general", "symmetric"), *lines[1:]],
        lambda lines: [lines[0].replace("coordinate", "array"), *lines[1:]],
        lambda lines: [lines[0].replace("integer", "complex"), *lines[1:]],
        lambda lines: ["8 9 72", *lines[3:]],
        lambda lines: [lines[0], "%"],
        lambda lines: [*lines[:-1], "8 9"],
        lambda lines: [*lines[:-1], "8 9 3 4"],
        lambda lines: [*lines[:-1], "8 9 x"],
        lambda lines: [*lines[:-1], "8 9 inf"],
        lambda lines: [*lines[:-1], "8.5 9 3"],
        lambda lines: [*lines[:-1], "0 9 3"],
        lambda lines: [*lines[:-1], "9 9 3"],
        lambda lines: [*lines[:-1], "8 10 3"],
        lambda lines: [*lines, "8 9 3"],
    ],
)
def test_a_damaged_mtx_is_one_error(change, tmp_path):
    """Some of these made SciPy's reader write past its memory."""
    file = bare(tmp_path) / "matrix.mtx"
    file.write_text("\n".join(change(file.read_text().splitlines())))
    with pytest.raises(InputError, match="matrix.mtx is cut short or damaged"):
        read(tmp_path)


def mtx_names_a_place_twice(d):
    top = bare(d)
    lines = (top / "matrix.mtx").read_text().splitlines()
    (top / "matrix.mtx").write_text("\n".join([*lines[:-1], lines[-2]]))
    return top


def raw(d):
    cite(d)
    return x10.h5(d / "raw_feature_bc_matrix.h5", x10.features("rna", "protein"))


def raw_folder(d):
    return x10.folder(d / "raw_feature_bc_matrix", x10.features("rna"))


def raw_by_content(d):
    x = np.zeros((21_000, G), dtype=int)
    x[:40] = 9
    return x10.h5(d / "cells.h5", x10.features("rna"), cells=[f"c{i}" for i in range(21_000)], x=x)


def keras(d):
    with h5py.File(d / "x.h5", "w") as file:
        file["model_weights/dense/kernel"] = np.ones((2, 2))
        file.create_group("optimizer_weights")
    return d / "x.h5"


def of_tiles(d):
    with h5py.File(d / "x.h5", "w") as file:
        file["features"] = np.ones((3, 2))
    return d / "x.h5"


def renamed_h5ad(d):
    return shutil.copy(scanpy_h5ad(d), d / "x.h5") and d / "x.h5"


def renamed_h5mu(d):
    return shutil.copy(muon_h5mu(d), d / "x.h5") and d / "x.h5"


def zipped(d):
    with zipfile.ZipFile(d / "x.zip", "w") as file:
        file.write(cite(d))
    return d / "x.zip"


def tar(d):
    with tarfile.open(d / "x.tar.gz", "w:gz") as file:
        file.add(cite(d))
    return d / "x.tar.gz"


def h5_gz(d):
    (d / "x.h5.gz").write_bytes(gzip.compress(cite(d).read_bytes()))
    return d / "x.h5.gz"


def loom(d):
    (d / "x.loom").write_text("x")
    return d / "x.loom"


def rds(d):
    (d / "x.rds").write_text("x")
    return d / "x.rds"


def text(d):
    (d / "x.csv").write_text("a,b")
    return d / "x.csv"


def empty_folder(d):
    return d


def two_genomes(d):
    for genome in ("hg19", "mm10"):
        x10.folder(d / "filtered_gene_bc_matrices" / genome, x10.features("rna"), packed=False)
    return d


def other_cells_of_genomes(d):
    path = x10.old_h5(d / "x.h5", ("hg19", "mm10"))
    with h5py.File(path, "a") as file:
        file["mm10/barcodes"][0] = b"another"
    return path


def nothing(d):
    return d / "none.h5"


def empty_file(d):
    (d / "x.h5").touch()
    return d / "x.h5"


def cells_lack_a_modality(d):
    return muon_h5mu(d)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (cut, "is cut short or damaged"),
        (one_number, "indices has 4000 at 3"),
        (falling, "indptr falls at 2"),
        (wrong_shape, "holds a matrix of 9 features x 9 barcodes, but names 8 and 9"),
        (no_cells, "has no barcodes"),
        (twice, "names 1 barcodes twice .first: 'A-1'."),
        (fewer_barcodes, "a matrix of 8 features x 9 barcodes, but names 8 and 7"),
        (no_features, "has no features.tsv"),
        (no_barcodes, "holds no matrix of cells: expected filtered_feature_bc_matrix"),
        (cut_mtx, "matrix.mtx is cut short or damaged"),
        (mtx_names_a_place_twice, "names 1 places twice"),
        (raw, r"holds all droplets, 9, .*: read filtered_feature_bc_matrix.h5 beside it"),
        (raw_folder, "holds all droplets, 9, .*read the filtered matrix"),
        (raw_by_content, "holds all droplets, 21,000, of which 20,960 have fewer than 10 counts"),
        (keras, "holds model_weights, optimizer_weights, and not a matrix of Cell Ranger"),
        (of_tiles, "holds features of tiles: give the folder of such files"),
        (renamed_h5ad, "is an AnnData: give it the ending .h5ad"),
        (renamed_h5mu, "is a MuData: give it the ending .h5mu"),
        (zipped, "x.zip is packed: unpack it first"),
        (tar, "x.tar.gz is packed: unpack it first"),
        (h5_gz, "x.h5.gz is packed: unpack it first"),
        (loom, "x.loom is a loom file: cells are read from .h5ad"),
        (rds, "x.rds is an R object: cells are read from"),
        (text, "x.csv is a table of text: cells are read from"),
        (empty_folder, "holds no matrix of cells"),
        (two_genomes, "holds 2 genomes .hg19, mm10.: name the folder of one"),
        (other_cells_of_genomes, "nor genomes of the same barcodes"),
        (nothing, "no file .*none.h5"),
        (empty_file, "it is empty"),
        (cells_lack_a_modality, "2 of 9 cells are not in every modality .*cells='intersection'"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_what_cannot_be_read_is_one_sentence(layout, said, tmp_path):
    path = layout(tmp_path)
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert "\n" not in str(caught.value)
