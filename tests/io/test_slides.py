"""Slides of every source become the same bags of tiles; what is wrong is named."""

import dataclasses
import functools
import gzip
import json
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti.errors import InputError

Image = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("skimage")

PITCH = 50  # px between spots; at 2 µm a pixel, 100 µm
SIDE = 24


def draw(*args, **kwargs):
    """Pink tissue with noise, no two tiles alike: (height, width, 3)."""
    return drawn(*args, **kwargs).copy()


@functools.cache
def drawn(seed, height=260, width=310):
    rng = np.random.default_rng(seed)
    return rng.normal([205, 130, 180], 18, (height, width, 3)).clip(0, 255).astype(np.uint8)


def spots(n=12):
    y, x = np.divmod(np.arange(n), 4)
    return np.column_stack([60 + PITCH * x, 60 + PITCH * y]).astype(float)


def tile(rgb, x, y, side=SIDE):
    x, y = int(np.floor(x - side / 2 + 0.5)), int(np.floor(y - side / 2 + 0.5))
    return rgb[y : y + side, x : x + side].transpose(2, 0, 1)


def save(path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, rgb, photometric="rgb", tile=(64, 64))
    else:
        Image.fromarray(rgb).save(path, compress_level=1)  # noise
    return path


def read(source, **kwargs):
    """Read, and keep what was warned as notes alone."""
    kwargs = {"tile_px": SIDE} | kwargs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sm.read_slides(source, **kwargs)


def view_of(bags):
    """The TileView that the bags read from."""
    view = bags.x["tile"]
    return getattr(view, "base", view)


def with_features(bags):
    """A view of features: the mean colour of each tile."""
    colour = bags.x["tile"].read(0, bags.n_instances).mean((2, 3)).astype(np.float32)
    return dataclasses.replace(bags, x={"X_colour": colour, **bags.x})


def check_tiles(bags, pictures, side=SIDE):
    """Every tile is the crop of its own slide around its own centre."""
    got = bags.x["tile"].read(0, bags.n_instances)
    for i, b in enumerate(bags.index):
        row = bags.instance.iloc[i]
        rgb = pictures[bags.bag.index[b]]
        np.testing.assert_array_equal(got[i], tile(rgb, row["x_px"], row["y_px"], side))


# ---------------------------------------------------------------- (a) AnnData


@pytest.fixture
def cohort(tmp_path):
    """Three slides of two donors, spots of all slides in one shuffled AnnData."""
    rng = np.random.default_rng(0)
    pictures = {s: draw(i) for i, s in enumerate("ABC")}
    for s, kind in zip("ABC", ("png", "tif", "png"), strict=True):
        save(tmp_path / "images" / f"{s}.{kind}", pictures[s])
    obs = pd.concat([
        pd.DataFrame({"slide": s, "patient": p, "x_px": xy[:, 0], "y_px": xy[:, 1],
                      "um_per_px": 2.0, "region": rng.choice(["in", "out"], len(xy))},
                     index=[f"{s}_{i}" for i in range(len(xy))])
        for s, p, xy in [("A", "p1", spots()), ("B", "p2", spots(9)), ("C", "p1", spots(7))]
    ])  # fmt: skip
    counts = sp.csr_matrix(rng.poisson(2, (len(obs), 5)).astype(np.float32))
    table = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=list("VWXYZ")))
    table = table[rng.permutation(len(obs))].copy()
    return table, tmp_path / "images", pictures


def test_anndata(cohort, tmp_path):
    table, images, pictures = cohort
    bags = read(table, images=images, slide="slide", donor="patient")
    assert set(bags.bag.index) == set("ABC")
    assert bags.n_instances == 28
    assert bags.donor == "patient"
    assert bags.bag.loc["B", "patient"] == "p2"
    assert (bags.bag["um_per_px"] == 2).all()
    assert not bags.notes
    assert bags.features["counts"] == tuple("VWXYZ")
    assert bags.x["tile"].shape == (28, 3, SIDE, SIDE)
    check_tiles(bags, pictures)
    counts = bags.x["counts"]
    assert sp.issparse(counts)
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts.toarray(), table.X.toarray()[bags.rows])
    assert list(bags.instance.index) == list(table.obs_names[bags.rows])
    np.testing.assert_array_equal(bags.instance["region"], table.obs["region"].iloc[bags.rows])
    np.testing.assert_allclose(bags.instance["x_um"], bags.instance["x_px"] * 2)
    assert (bags.instance["tissue"] > 0.95).all()
    table.write_h5ad(tmp_path / "t.h5ad")
    again = read(tmp_path / "t.h5ad", images=images, slide="slide", donor="patient")
    for column in bags.instance:
        assert list(again.instance[column]) == list(bags.instance[column])
    assert list(again.instance.index) == list(bags.instance.index)
    assert (again.x["counts"] != counts).nnz == 0


def test_tiles_in_um_and_size(cohort):
    table, images, pictures = cohort
    bags = read(table, images=images, slide="slide", tile_px=None, tile_um=48, size=SIDE)
    check_tiles(bags, pictures)  # 48 µm at 2 µm a pixel
    bags = read(table, images=images, slide="slide", tile_px=None)
    assert bags.x["tile"].shape[1:] == (3, 224, 224)
    assert (view_of(bags).side == 56).all()
    bags = read(table, images=images, slide="slide", tile_px=None, tile_um=48,
                um_per_px={"A": 1.0, "B": 2.0, "C": 4.0})  # fmt: skip
    view = view_of(bags)
    sides = dict(zip([i.path.stem for i in view.images], view.side, strict=True))
    assert sides == {"A": 48, "B": 24, "C": 12}


@pytest.mark.slow
def test_names_positions_and_counts_by_choice(cohort):
    table, images, pictures = cohort
    xy = table.obs[["x_px", "y_px"]].to_numpy()
    table.obs = table.obs.drop(columns=["x_px", "y_px", "um_per_px"])
    table.obs_names = [n.split("_")[1] for n in table.obs_names]  # the same on every slide
    table.obsm["spatial"], table.obsm["else"] = xy + 3, xy
    table.layers["raw"] = table.X * 2
    mapping = {s: images / f"{s}.{'tif' if s == 'B' else 'png'}" for s in "ABC"}
    bags = read(table, images=mapping, slide="slide", xy="else", counts="layers/raw")
    check_tiles(bags, pictures)
    assert bags.instance.index.is_unique
    assert "A_0" in bags.instance.index
    np.testing.assert_array_equal(bags.x["counts"].toarray(), 2 * table.X.toarray()[bags.rows])
    assert np.isnan(bags.bag["um_per_px"]).all()
    assert "x_um" not in bags.instance
    assert "counts" not in read(table, images=mapping, slide="slide", counts=None).x
    bags = read(table, images=mapping, slide="slide")  # obsm["spatial"]
    np.testing.assert_array_equal(bags.instance["x_px"], xy[bags.rows, 0] + 3)


def test_one_slide_needs_no_name(cohort):
    table, images, pictures = cohort
    bags = read(table[table.obs["slide"] == "A"].copy(), images=images / "A.png")
    assert list(bags.bag.index) == ["A"]
    check_tiles(bags, pictures)


@pytest.mark.slow
def test_off_the_edge(cohort):
    table, images, pictures = cohort
    table.obs.loc["B_3", ["x_px", "y_px"]] = [305, 100]
    with pytest.raises(InputError, match=r"1 of 9 tiles leave slide 'B' \(first: B_3 at \(305"):
        read(table, images=images, slide="slide")
    with pytest.warns(UserWarning, match="slide 'B': 1 of 9 tiles leave the picture"):
        bags = sm.read_slides(table, images=images, slide="slide", tile_px=SIDE, edge="drop")
    assert "B_3" not in bags.instance.index
    assert bags.n_instances == 27
    assert [n.instances for n in bags.left] == [1]
    check_tiles(bags, pictures)
    np.testing.assert_array_equal(bags.x["counts"].toarray(), table.X.toarray()[bags.rows])
    bags = read(table, images=images, slide="slide", edge="pad")
    at = bags.instance.index.get_loc("B_3")
    one = bags.x["tile"].read(at, at + 1)[0]
    np.testing.assert_array_equal(one[:, :, :17], tile(pictures["B"], 305, 100))
    assert (one[:, :, 17:] == 255).all()
    table.obs[["x_px", "y_px"]] *= 5
    with pytest.raises(InputError, match="7 spots themselves lie outside"):
        read(table[table.obs["slide"] == "C"], images=images, slide="slide")
    with pytest.raises(InputError, match=r"no tile of slide 'C' is left of 7: all leave C\.png"):
        read(table[table.obs["slide"] == "C"], images=images, slide="slide", edge="drop")


@pytest.mark.slow
@pytest.mark.parametrize("place", [[5000, 100], [-40, 100], [100, 272]])
def test_a_spot_outside_is_never_white(cohort, place):
    table, images, _ = cohort
    table.obs.loc["B_3", ["x_px", "y_px"]] = place
    said = r"slide 'B': 1 of 9 tiles leave the picture and are left out. 1 spots themselves lie"
    for edge in ("pad", "drop"):
        with pytest.warns(UserWarning, match=said):
            bags = sm.read_slides(table, images=images, slide="slide", tile_px=SIDE, edge=edge)
        assert "B_3" not in bags.instance.index
        assert bags.n_instances == 27
    with pytest.raises(InputError, match=r"1 spots themselves lie outside: .* edge='drop'"):
        read(table, images=images, slide="slide")


@pytest.mark.slow
def test_two_positions_that_disagree(cohort):
    table, images, pictures = cohort
    xy = table.obs[["x_px", "y_px"]].to_numpy()
    table.obsm["spatial"] = xy + 0.4  # rounded
    check_tiles(read(table, images=images, slide="slide"), pictures)
    table.obsm["spatial"] = xy / 10  # of a small picture
    name = table.obs_names[0]
    said = rf"two positions of 28 of 28 spots \(first: '{name}'\): obs x_px, y_px says .*, obsm\["
    with pytest.raises(InputError, match=said + r"'spatial'\] .*xy='spatial'"):
        read(table, images=images, slide="slide")
    check_tiles(read(table, images=images, slide="slide", xy=("x_px", "y_px")), pictures)
    got = read(table, images=images, slide="slide", xy="spatial", edge="pad")
    assert got.instance["x_px"].max() < 31
    del table.obsm["spatial"]
    table.obs["imagecol"], table.obs["imagerow"] = xy[:, 1], xy[:, 0]
    with pytest.raises(InputError, match="obs imagecol, imagerow"):
        read(table, images=images, slide="slide")


def test_spots_without_tissue(cohort):
    table, images, pictures = cohort
    pictures["A"][80:140, 80:] = 245
    save(images / "A.png", pictures["A"])
    with pytest.warns(UserWarning, match=r"slide 'A': 3 of 12 tiles hold no tissue \(first: A_"):
        bags = sm.read_slides(table, images=images, slide="slide", tile_px=SIDE)
    bare = bags.instance["tissue"] < 0.05
    assert set(bags.instance.index[bare]) == {"A_5", "A_6", "A_7"}
    with pytest.warns(UserWarning, match=r"slide 'A': 3 of 12 tiles hold less than 50% tissue"):
        bags = sm.read_slides(table, images=images, slide="slide", tile_px=SIDE, tissue_min=0.5)
    assert bags.n_instances == 25
    assert not {"A_5", "A_6", "A_7"} & set(bags.instance.index)
    np.testing.assert_array_equal(bags.x["counts"].toarray(), table.X.toarray()[bags.rows])
    save(images / "A.png", np.full_like(pictures["A"], 245))
    with pytest.raises(InputError, match="no tile of slide 'A' is left of 12"):
        read(table, images=images, slide="slide", tissue_min=0.5)


def test_images_and_spots_that_do_not_match(cohort):
    table, images, _ = cohort
    (images / "B.tif").rename(images / "other.tif")
    with pytest.raises(
        InputError, match=r"1 slides have no image: B; there are images of A, C, other"
    ):
        read(table, images=images, slide="slide")
    (images / "other.tif").rename(images / "B.tif")
    save(images / "D.png", draw(9))
    bags = read(table, images=images, slide="slide")
    assert bags.notes == ("1 images belong to no slide and are left out: D.",)
    save(images / "A.jpg", draw(9))
    with pytest.raises(InputError, match=r"A\.jpg and .*A\.png are both the image of slide 'A'"):
        read(table, images=images, slide="slide")
    with pytest.raises(InputError, match=r"1 image files are missing: .*gone\.png"):
        read(table, images={"A": images / "gone.png"}, slide="slide")
    with pytest.raises(InputError, match="no images: give images="):
        read(table, slide="slide")


def test_bad_tables(cohort):
    table, images, _ = cohort

    def wrong(match, change=None, **kwargs):
        copy = table.copy()
        if change:
            change(copy)
        with pytest.raises(InputError, match=match):
            read(copy, **({"images": images, "slide": "slide"} | kwargs))

    def negative(t):
        t.X = t.X.toarray()
        t.X[4, 2] = -3

    def missing(t):
        t.X = t.X.toarray()
        t.X[4, 2] = np.nan

    name = table.obs_names[4]
    wrong(rf"a count of -3 \(spot '{name}', gene 'X'; 1 such\)", negative)
    wrong(rf"a count of nan \(spot '{name}', gene 'X'", missing)
    wrong("no .*'nope'|'nope'", slide="nope")
    wrong("which slide is a spot of .* on", slide=None)
    wrong("'nope'", xy=["nope", "y_px"])
    wrong(r"no pixel positions \(obsm\['spatial'\]", lambda t: t.obs.drop(
        columns=["x_px", "y_px"], inplace=True))  # fmt: skip
    wrong(r"1 spots of .* have no position \(first: 'B_2'", lambda t: t.obs.loc.__setitem__(
        ("B_2", "x_px"), np.nan))  # fmt: skip
    wrong("slide 'C' has 2 values of 'um_per_px'", lambda t: t.obs.loc.__setitem__(
        ("C_1", "um_per_px"), 3.0))  # fmt: skip
    wrong("'um'", um_per_px="um")
    wrong("um_per_px=-1 of slide", um_per_px=-1)
    wrong("tile_um= .* or tile_px=", tile_um=5)
    wrong("tile_px=0 must be over 0", tile_px=0)
    wrong("size=-1 must be over 0", size=-1)
    wrong("tiles='hexagons'", tiles="hexagons")
    wrong("edge='wrap'", edge="wrap")
    wrong("µm per pixel of slide '.' .* is not known", lambda t: t.obs.drop(
        columns=["um_per_px"], inplace=True), tile_px=None)  # fmt: skip
    wrong(r"spots of .* have no 'slide' \(first: 'A_1'", lambda t: t.obs.loc.__setitem__(
        ("A_1", "slide"), None))  # fmt: skip


def test_repeated_genes_get_names(cohort):
    table, images, _ = cohort
    table.var_names = ["V", "W", "V", "V-1", "V"]
    bags = read(table, images=images, slide="slide")
    assert bags.features["counts"] == ("V", "W", "V-2", "V-1", "V-3")
    assert len(bags.notes) == 1
    assert "are of several features (V)" in bags.notes[0]
    assert "by their order, as 'V', 'V-2', ..." in bags.notes[0]


@pytest.mark.slow
def test_implausible_spacing(cohort):
    table, images, _ = cohort
    with pytest.warns(UserWarning, match=r"at 10 µm per pixel its spots are 500 µm apart"):
        bags = sm.read_slides(table, images=images, slide="slide", tile_px=SIDE, um_per_px=10)
    assert len(bags.notes) == 3
    assert "is um_per_px= right" in bags.notes[0]
    bags = read(table, images=images, slide="slide", pitch_um=200)  # it is 100
    assert len(bags.notes) == 3
    assert "expected 200 µm" in bags.notes[0]
    assert not read(table, images=images, slide="slide", pitch_um=100).notes
    for um, plausible in ((0.16, True), (0.32, True), (0.18, True), (0.24, False), (0.04, True)):
        bags = read(table, images=images, slide="slide", um_per_px=um)  # 8, 16, 9, 12 and 2 µm
        assert len(bags.notes) == (0 if plausible else 3)
    table.obs = table.obs.drop(columns="um_per_px")
    bags = read(table, images=images, slide="slide", pitch_um=100)
    np.testing.assert_allclose(bags.bag["um_per_px"], 2)
    assert "2 µm per pixel, from spots 100 µm apart" in bags.notes[0]


@pytest.mark.parametrize("name", ["A.png", "A.jpg", "B.tif"])
def test_damaged_images_are_named(cohort, name):
    table, images, pictures = cohort
    if name == "A.jpg":
        (images / "A.png").unlink()
        save(images / name, pictures["A"])
    content = (images / name).read_bytes()
    (images / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"{name} is (cut short|damaged)"):
        read(table, images=images, slide="slide")
    (images / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name} is cut short or damaged"):
        read(table, images=images, slide="slide")


# ---------------------------------------------------------------- (b) Space Ranger

GENES = ["G1", "G2", "G2", "G3"]


def visium(folder, *, seed=0, h5=True, header=True, n=12, antibody=False, old=False, packed=True):
    """A folder as Space Ranger writes it: counts by (full-resolution) position, hires at 1:4."""
    import h5py

    rng = np.random.default_rng(seed)
    barcodes = [f"{''.join(rng.choice(list('ACGT'), 8))}-1" for _ in range(n + 2)]
    counts = rng.poisson(2, (n, len(GENES) + antibody))
    kinds = ["Gene Expression"] * len(GENES) + ["Antibody Capture"] * antibody
    names = GENES + ["CD3"] * antibody
    xy = np.concatenate([spots(n), [[10, 10], [20, 10]]]) * 4  # the last two have no tissue
    spatial = folder / "spatial"
    small = draw(seed)
    save(spatial / "tissue_hires_image.png", small)
    (spatial / "scalefactors_json.json").write_text(json.dumps(
        {"tissue_hires_scalef": 0.25, "spot_diameter_fullres": 110.0}))  # fmt: skip
    table = pd.DataFrame({
        "barcode": barcodes, "in_tissue": [1] * n + [0, 0], "array_row": np.arange(n + 2),
        "array_col": np.arange(n + 2) * 2, "pxl_row_in_fullres": xy[:, 1],
        "pxl_col_in_fullres": xy[:, 0],
    }).sample(frac=1, random_state=0)  # fmt: skip
    name = "tissue_positions.csv" if header else "tissue_positions_list.csv"
    table.to_csv(spatial / name, index=False, header=header)
    matrix = sp.csc_matrix(counts.T)
    if h5 and old:
        with h5py.File(folder / "filtered_feature_bc_matrix.h5", "w") as file:
            part = file.create_group("GRCh38")
            for key in ("data", "indices", "indptr"):
                part[key] = getattr(matrix, key)
            part["shape"], part["barcodes"] = matrix.shape, np.array(barcodes[:n], dtype="S")
            part["genes"] = np.array([f"ENSG{i}" for i in range(len(names))], dtype="S")
            part["gene_names"] = np.array(names, dtype="S")
    elif h5:
        with h5py.File(folder / "filtered_feature_bc_matrix.h5", "w") as file:
            part = file.create_group("matrix")
            for key in ("data", "indices", "indptr"):
                part[key] = getattr(matrix, key)
            part["shape"], part["barcodes"] = matrix.shape, np.array(barcodes[:n], dtype="S")
            part["features/name"] = np.array(names, dtype="S")
            part["features/id"] = np.array([f"ENSG{i}" for i in range(len(names))], dtype="S")
            part["features/feature_type"] = np.array(kinds, dtype="S")
    else:
        from scipy.io import mmwrite

        mtx = folder / "filtered_feature_bc_matrix"
        mtx.mkdir()
        mmwrite(mtx / "matrix.mtx", matrix)
        rows = [f"ENSG{i}\t{g}" + f"\t{k}" * (not old)
                for i, (g, k) in enumerate(zip(names, kinds, strict=True))]  # fmt: skip
        stem = "genes.tsv" if old else "features.tsv"
        (mtx / stem).write_text("\n".join(rows) + "\n")
        (mtx / "barcodes.tsv").write_text("\n".join(barcodes[:n]) + "\n")
        for file in list(mtx.iterdir()) if packed else ():
            with gzip.open(f"{file}.gz", "wb") as out:
                out.write(file.read_bytes())
            file.unlink()
    return counts[:, : len(GENES)], barcodes[:n], small


@pytest.mark.parametrize(("h5", "header"), [(True, True), (False, False)])
def test_visium(tmp_path, h5, header):
    folder = tmp_path / "sample1"
    counts, barcodes, small = visium(folder, h5=h5, header=header, antibody=True)
    bags = read(folder)
    assert list(bags.bag.index) == ["sample1"]
    assert bags.n_instances == 12
    assert bags.features["counts"] == ("G1", "G2", "G2-1", "G3")
    order = [barcodes.index(i.removeprefix("sample1_")) for i in bags.instance.index]
    np.testing.assert_array_equal(bags.x["counts"].toarray(), counts[order])
    np.testing.assert_allclose(bags.instance[["x_px", "y_px"]], spots()[order])
    check_tiles(bags, {"sample1": small})
    assert bags.bag["um_per_px"].iloc[0] == pytest.approx(2)  # 50 px of the small picture: 100 µm
    assert set(bags.instance["array_row"]) == set(range(12))
    assert any("tissue_hires_image.png, a small version of the slide (1 of 4" in n
               for n in bags.notes)  # fmt: skip
    # of the full-resolution picture, where the user says so
    bags = read(folder, um_per_px=0.5)
    assert bags.bag["um_per_px"].iloc[0] == pytest.approx(2)
    bags = read(folder, um_per_px=0.1)
    assert any("its spots are 20 µm apart, expected 100 µm" in n for n in bags.notes)


@pytest.mark.parametrize("how", [{"h5": True}, {"h5": False, "packed": False}, {"h5": False}])
def test_visium_counts_of_version_2(tmp_path, how):
    """Genome groups with gene_names; genes.tsv, packed or not."""
    counts, barcodes, _ = visium(tmp_path / "s", old=True, **how)
    bags = read(tmp_path / "s")
    assert bags.features["counts"] == ("G1", "G2", "G2-1", "G3")
    order = [barcodes.index(i.removeprefix("s_")) for i in bags.instance.index]
    np.testing.assert_array_equal(bags.x["counts"].toarray(), counts[order])


def test_visium_of_two_genomes(tmp_path):
    import h5py

    counts, barcodes, _ = visium(tmp_path / "s", old=True)
    file = tmp_path / "s" / "filtered_feature_bc_matrix.h5"
    with h5py.File(file, "a") as data:
        data.copy("GRCh38", "mm10")
        del data["mm10/gene_names"]
        data["mm10/gene_names"] = np.array([f"m{g}" for g in GENES], dtype="S")
    bags = read(tmp_path / "s")
    assert bags.features["counts"] == ("G1", "G2", "G2-1", "G3", "mG1", "mG2", "mG2-1", "mG3")
    order = [barcodes.index(i.removeprefix("s_")) for i in bags.instance.index]
    np.testing.assert_array_equal(bags.x["counts"].toarray(), np.tile(counts[order], 2))
    with h5py.File(file, "a") as data:
        data["mm10/barcodes"][0] = b"another"
    with pytest.raises(
        InputError, match="holds GRCh38, mm10, and not a matrix, nor genomes of the"
    ):
        read(tmp_path / "s")


@pytest.mark.parametrize("h5", [True, False])
def test_visium_counts_that_lack_names(tmp_path, h5):
    import h5py

    visium(tmp_path / "s", h5=h5, packed=False)
    if h5:
        with h5py.File(tmp_path / "s" / "filtered_feature_bc_matrix.h5", "a") as data:
            names = data["matrix/features/name"][:-1]
            del data["matrix/features/name"]
            data["matrix/features/name"] = names
    else:
        file = tmp_path / "s" / "filtered_feature_bc_matrix" / "features.tsv"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        InputError, match=r"matrix of 4 features x 12 .*names 3 and 12|4 id, 3 name"
    ):
        read(tmp_path / "s")


def test_visium_without_tissue(tmp_path):
    visium(tmp_path / "s")
    positions = tmp_path / "s" / "spatial" / "tissue_positions.csv"
    table = pd.read_csv(positions)
    table["in_tissue"] *= np.arange(len(table)) % 2
    table.to_csv(positions, index=False)
    with pytest.warns(
        UserWarning, match=r"of 12 spots with counts do not lie under tissue \(first"
    ):
        bags = sm.read_slides(tmp_path / "s", tile_px=SIDE)
    assert bags.n_instances == table["in_tissue"].sum()
    assert bags.n_instances + sum(n.instances for n in bags.left) == 12
    assert not any("no position" in n for n in bags.notes)
    table.assign(in_tissue=0).to_csv(positions, index=False)
    with pytest.raises(InputError, match="none of the 12 spots with counts lies under tissue"):
        read(tmp_path / "s")
    table[:0].to_csv(positions, index=False)
    with pytest.raises(InputError, match=r"tissue_positions.csv has no spots"):
        read(tmp_path / "s")


def test_visium_hd_says_its_pixels(tmp_path):
    """Bins of 8 µm: neither their distance nor the pixel is that of Visium."""
    visium(tmp_path / "s")
    file = tmp_path / "s" / "spatial" / "scalefactors_json.json"
    hd = json.loads(file.read_text()) | {"bin_size_um": 8.0, "microns_per_pixel": 0.04}
    file.write_text(json.dumps(hd))
    bags = read(tmp_path / "s")
    assert bags.bag["um_per_px"].iloc[0] == pytest.approx(0.16)  # of the picture at 1:4
    assert not any("µm apart" in n for n in bags.notes)  # 50 px of it are 8 µm
    file.write_text(json.dumps(hd | {"microns_per_pixel": 0.5}))
    assert any("its spots are 100 µm apart, expected 8 µm" in n for n in read(tmp_path / "s").notes)
    del hd["microns_per_pixel"]
    file.write_text(json.dumps(hd))
    assert read(tmp_path / "s").bag["um_per_px"].iloc[0] == pytest.approx(0.16)
    assert read(tmp_path / "s", pitch_um=16).bag["um_per_px"].iloc[0] == pytest.approx(0.32)
    assert read(tmp_path / "s", um_per_px=1.0).bag["um_per_px"].iloc[0] == pytest.approx(4)
    file.write_text(json.dumps(hd | {"bin_size_um": -8}))
    with pytest.raises(InputError, match="gives bin_size_um=-8"):
        read(tmp_path / "s")


@pytest.mark.slow
def test_visium_full_resolution(tmp_path):
    folder = tmp_path / "run" / "outs"
    _, _, small = visium(folder)
    full = np.kron(small, np.ones((4, 4, 1), np.uint8))
    save(tmp_path / "he.tif", full)
    for source in (folder, tmp_path / "run"):
        bags = read(source, images=tmp_path / "he.tif")
        assert list(bags.bag.index) == ["run"]
        check_tiles(bags, {"run": full})
        assert bags.bag["um_per_px"].iloc[0] == pytest.approx(0.5)
        assert view_of(bags).images[0].path.name == "he.tif"


def test_several_visium_folders(tmp_path):
    pictures, tables = {}, {}
    for i, name in enumerate(("s1", "s2")):
        tables[name], _, pictures[name] = visium(tmp_path / name, seed=i, n=12 - 3 * i)
    bags = read([tmp_path / "s1", tmp_path / "s2"], donor="bag")
    assert list(bags.bag.index) == ["s1", "s2"]
    assert list(np.diff(bags.offsets)) == [12, 9]
    check_tiles(bags, pictures)
    total = {s: t.sum() for s, t in tables.items()}
    for b, name in enumerate(bags.bag.index):
        assert bags.x["counts"][np.asarray(bags.index) == b].sum() == total[name]
    visium(tmp_path / "again" / "s2")
    with pytest.raises(InputError, match="two folders are called 's2'"):
        read([tmp_path / "s1", tmp_path / "s2", tmp_path / "again" / "s2"])
    (tmp_path / "again" / "s2" / "filtered_feature_bc_matrix.h5").unlink()
    with pytest.raises(InputError, match=r"again/s2 is no output of Space Ranger"):
        read([tmp_path / "s1", tmp_path / "again" / "s2"])


def test_visium_that_is_not_whole(tmp_path):
    def fresh(name, **kwargs):
        visium(tmp_path / name, **kwargs)
        return tmp_path / name

    folder = fresh("a")
    (folder / "spatial" / "tissue_positions.csv").unlink()
    with pytest.raises(InputError, match=r"a/spatial has no tissue_positions"):
        read(folder)
    folder = fresh("b")
    (folder / "spatial" / "tissue_hires_image.png").unlink()
    with pytest.raises(InputError, match=r"b/spatial has no tissue_hires_image.png"):
        read(folder)
    folder = fresh("c")
    (folder / "filtered_feature_bc_matrix.h5").write_bytes(b"not hdf5")
    with pytest.raises(InputError, match=r"c/filtered_feature_bc_matrix.h5 is cut short"):
        read(folder)
    folder = fresh("d", h5=False)
    (folder / "filtered_feature_bc_matrix" / "barcodes.tsv.gz").unlink()
    with pytest.raises(InputError, match=r"filtered_feature_bc_matrix has no barcodes.tsv"):
        read(folder)
    folder = fresh("e")
    positions = folder / "spatial" / "tissue_positions.csv"
    positions.write_text(positions.read_text().replace("-1,", "-2,"))
    with pytest.raises(InputError, match=r"e: barcodes of the counts end in -1, of the pos.* -2"):
        read(folder)
    positions.write_text("barcode,in_tissue\nx,1\n")
    with pytest.raises(InputError, match=r"tissue_positions.csv lacks array_row"):
        read(folder)
    folder = fresh("f")
    (folder / "spatial" / "scalefactors_json.json").write_text("{")
    with pytest.raises(InputError, match=r"scalefactors_json.json is cut short or damaged"):
        read(folder)
    folder = fresh("g")
    lines = (folder / "spatial" / "tissue_positions.csv").read_text().splitlines()
    gone = next(i for i, line in enumerate(lines) if ",1," in line)
    name = lines.pop(gone).split(",")[0]
    (folder / "spatial" / "tissue_positions.csv").write_text("\n".join(lines))
    bags = read(folder)
    assert bags.n_instances == 11
    assert any(f"1 spots with counts have no position (first: {name})" in n for n in bags.notes)
    folder = fresh("h", h5=False)
    file = folder / "filtered_feature_bc_matrix" / "matrix.mtx.gz"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"filtered_feature_bc_matrix"):
        read(folder)


# ---------------------------------------------------------------- (c) SpatialData


def spatial_data(seed=0, n=12):
    """One region whose spots are in µm, the image in pixels of 2 µm, moved by (100, 40) µm."""
    pytest.importorskip("spatialdata")
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Affine, Identity, Scale, Sequence, Translation

    rgb = draw(seed)
    move = Sequence([Scale([2, 2], axes=("x", "y")), Translation([100, 40], axes=("x", "y"))])
    image = Image2DModel.parse(rgb.transpose(2, 0, 1), dims=("c", "y", "x"),
                               transformations={"sample": move})  # fmt: skip
    decoy = Image2DModel.parse(draw(7).transpose(2, 0, 1), dims=("c", "y", "x"),
                               transformations={"else": Identity()})  # fmt: skip
    # the shapes lie in a system of their own: x and y swapped, stretched and moved
    swap = Affine(
        [[0, 2, 10], [1, 0, -5], [0, 0, 1]], input_axes=("x", "y"), output_axes=("x", "y")
    )
    um = spots(n) * 2 + [100, 40]
    own = np.column_stack([um[:, 1] + 5, (um[:, 0] - 10) / 2])
    shapes = ShapesModel.parse(own, geometry=0, radius=27.5,
                               index=np.arange(n) + 5,
                               transformations={"sample": swap})  # fmt: skip
    counts = np.random.default_rng(seed).poisson(2, (n, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(n)
    table = ad.AnnData(sp.csr_matrix(counts[order]), var=pd.DataFrame(index=list("XYZ")),
                       obs=pd.DataFrame({"region": "spots", "id": order + 5, "kind": "k"},
                                        index=[f"s{i}" for i in order]))  # fmt: skip
    table = TableModel.parse(table, region="spots", region_key="region", instance_key="id")
    data = SpatialData(images={"decoy": decoy, "he": image}, shapes={"spots": shapes},
                       tables={"table": table})  # fmt: skip
    return data, rgb, order, counts


def test_pixels_that_are_not_square(tmp_path):
    file = tmp_path / "o.ome.tif"
    for y, um in ((0.5, 0.5), (0.505, 0.5025), (0.52, None), (1.0, None)):
        tifffile.imwrite(file, draw(0), photometric="rgb", metadata={
            "axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": y})  # fmt: skip
        if um is not None:
            assert read(file).bag["um_per_px"].iloc[0] == pytest.approx(um)
            continue
        with pytest.raises(
            InputError, match=r"o\.ome\.tif of slide 'o' .* a pixel has 0\.5 x (0\.52|1) µm"
        ):
            read(file)
        assert read(file, um_per_px=0.5).bag["um_per_px"].iloc[0] == 0.5
    tifffile.imwrite(tmp_path / "t.tif", draw(0), photometric="rgb",
                     resolution=(10_000, 20_000), resolutionunit="CENTIMETER")  # fmt: skip
    with pytest.raises(InputError, match=r"a pixel has 1 x 0\.5 µm"):
        read(tmp_path / "t.tif")


def test_tiles_of_unlike_width_are_said(cohort):
    table, images, _ = cohort
    um = {"A": 1.0, "B": 2.0, "C": 1.0}
    bags = read(table, images=images, slide="slide", um_per_px=um)
    assert any("tiles are 24 to 48 µm wide" in n for n in bags.notes)
    assert dict(bags.bag["tile_um"]) == {"A": 24, "B": 48, "C": 24}
    alike = read(table, images=images, slide="slide", um_per_px=um, tile_px=None, tile_um=48)
    assert not any("µm wide" in n for n in alike.notes)
    np.testing.assert_allclose(alike.bag["tile_um_per_px"], 48 / 224)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_spatialdata(tmp_path):
    data, rgb, order, counts = spatial_data()
    data.write(tmp_path / "d.zarr")
    for source in (data, tmp_path / "d.zarr", str(tmp_path / "d.zarr")):
        bags = read(source, um_per_px=2.0)
        assert list(bags.bag.index) == ["spots"]
        assert not bags.notes
        np.testing.assert_allclose(bags.instance[["x_px", "y_px"]], spots()[order], atol=1e-9)
        check_tiles(bags, {"spots": rgb})
        np.testing.assert_array_equal(bags.x["counts"].toarray(), counts[order])
        assert bags.features["counts"] == tuple("XYZ")
        assert list(bags.instance.index) == [f"spots_s{i}" for i in order]
    assert read(data, images={"spots": "he"}, pitch_um=100).bag["um_per_px"][0] == pytest.approx(2)


@pytest.mark.filterwarnings("ignore")
def test_spatialdata_that_does_not_fit(tmp_path):
    data, *_ = spatial_data()
    with pytest.raises(InputError, match="no image 'nope'; there are decoy, he"):
        read(data, images="nope")
    with pytest.raises(InputError, match="no image shares a coordinate system with 'spots'"):
        read(data, images="decoy")
    data.tables["table"].X[0, 0] = -1
    with pytest.raises(InputError, match=r"table 'table' has a count of -1 \(spot 's"):
        read(data)
    del data.tables["table"]
    with pytest.raises(InputError, match=r"no table of this SpatialData .*tables: none"):
        read(data)
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.zarr is cut short or damaged"):
        read(tmp_path / "bad.zarr")


def check_predicted(table, want, order):
    assert list(table.var_names) == list("XYZ")
    np.testing.assert_array_equal(table.obs["id"], order + 5)
    assert table.uns["spatialdata_attrs"]["region"] in ("spots", ["spots"])
    for layer in ("predicted", "measured"):
        np.testing.assert_allclose(table.layers[layer], want.layers[layer])


@pytest.mark.filterwarnings("ignore")
def test_predictions_into_spatialdata(tmp_path):
    data, _, order, counts = spatial_data()
    bags = with_features(read(data, um_per_px=2.0))
    model = sm.expression.GeneMean().fit(bags)
    model.write(data, bags)
    check_predicted(data.tables["predicted"], model.to_anndata(bags), order)
    again = read(data, um_per_px=2.0)  # the counts, not what was predicted
    np.testing.assert_array_equal(again.x["counts"].toarray(), counts[order])
    with pytest.raises(InputError, match=r"x\.csv is neither"):
        model.write(data, bags, out=tmp_path / "x.csv")
    with pytest.raises(InputError, match=r"no file or folder .*gone\.zarr"):
        model.write(tmp_path / "gone.zarr", bags)
    other, *_ = spatial_data(n=9)
    with pytest.raises(InputError, match="the data that the slides were read from"):
        model.write(other, bags)
    renamed, *_ = spatial_data()
    renamed.tables["table"].obs_names = [f"t{i}" for i in range(12)]
    with pytest.raises(InputError, match=r"the data that the slides were read from"):
        model.write(renamed, bags)


@pytest.mark.slow  # three stores are written
@pytest.mark.filterwarnings("ignore")
def test_predictions_into_spatialdata_on_disk(tmp_path):
    import spatialdata

    data, _, order, _ = spatial_data()
    data.write(tmp_path / "d.zarr")
    bags = with_features(read(tmp_path / "d.zarr", um_per_px=2.0))
    model = sm.expression.GeneMean().fit(bags)
    want = model.to_anndata(bags)
    model.write(tmp_path / "d.zarr", bags, out=tmp_path / "new.zarr")
    written = spatialdata.read_zarr(tmp_path / "new.zarr")
    check_predicted(written.tables["predicted"], want, order)
    assert "predicted" not in spatialdata.read_zarr(tmp_path / "d.zarr").tables
    np.testing.assert_array_equal(
        np.asarray(written.images["he"].data), np.asarray(data.images["he"].data)
    )
    model.write(tmp_path / "d.zarr", bags)  # replaced as a whole
    check_predicted(spatialdata.read_zarr(tmp_path / "d.zarr").tables["predicted"], want, order)


@pytest.mark.slow
def test_predictions_into_anndata(cohort, tmp_path):
    table, images, _ = cohort
    table.write_h5ad(tmp_path / "t.h5ad")
    bags = with_features(read(table, images=images, slide="slide"))
    model = sm.expression.GeneMean().fit(bags)
    model.write(tmp_path / "t.h5ad", bags, out=tmp_path / "out.h5ad")
    out, want = ad.read_h5ad(tmp_path / "out.h5ad"), model.to_anndata(bags)
    np.testing.assert_allclose(out.obsm["predicted"].iloc[bags.rows], want.layers["predicted"])
    np.testing.assert_allclose(out.obsm["measured"].iloc[bags.rows], want.layers["measured"])
    shuffled = table[::-1].copy()
    with pytest.raises(InputError, match="the data that it was read from"):
        model.write(shuffled, bags)


# ---------------------------------------------------------------- (d) first ST arrays


def legacy(folder, name, seed=0, gz=False, n=12):
    rng = np.random.default_rng(seed)
    at = np.column_stack(np.divmod(np.arange(n), 4))[:, ::-1] + [3, 5]
    counts = pd.DataFrame(rng.poisson(2, (n, 3)), index=[f"{x}x{y}" for x, y in at],
                          columns=["G1", "G2", f"only_{name}"])  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    counts.sample(frac=1, random_state=0).to_csv(
        folder / f"{name}.tsv{'.gz' if gz else ''}", sep="\t"
    )
    xy = spots(n)
    table = pd.DataFrame({"x": at[:, 0], "y": at[:, 1], "new_x": at[:, 0] + 0.1,
                          "new_y": at[:, 1], "pixel_x": xy[:, 0], "pixel_y": xy[:, 1],
                          "selected": 1})  # fmt: skip
    table.loc[n] = [9, 9, 9, 9, 0, 0, 0]  # not selected, and off the tile's edge
    table.to_csv(folder / f"{name}_selection.tsv", sep="\t", index=False)
    return counts


def test_legacy(tmp_path):
    tables = {
        "A1": legacy(tmp_path / "st", "A1", 0, gz=True),
        "B2": legacy(tmp_path / "st", "B2", 1),
    }
    pictures = {"A1": draw(0), "B2": draw(1)}
    for name, rgb in pictures.items():
        save(tmp_path / "im" / f"{name}.png", rgb)
    bags = read(tmp_path / "st", images=tmp_path / "im")
    assert list(bags.bag.index) == ["A1", "B2"]
    assert list(np.diff(bags.offsets)) == [12, 12]
    np.testing.assert_allclose(bags.bag["um_per_px"], 4)  # 50 px are 200 µm
    check_tiles(bags, pictures)
    assert bags.features["counts"] == ("G1", "G2")
    said = ("slides list different genes: 2 are in all, 4 in any (not in all: only_A1, only_B2); 2 "
            "genes that some slide does not list are left out.")  # fmt: skip
    assert said in bags.notes
    with pytest.raises(InputError, match=r"only_A1, only_B2\): keep those of all \(unlisted='dr"):
        read(tmp_path / "st", images=tmp_path / "im", unlisted="error")
    with pytest.raises(InputError, match="unlisted='no' is none of"):
        read(tmp_path / "st", images=tmp_path / "im", unlisted="no")
    bags = read(tmp_path / "st", images=tmp_path / "im", unlisted="zero", pitch_um=100)
    np.testing.assert_allclose(bags.bag["um_per_px"], 2)
    assert any("a gene that a slide does not list counts as 0 there" in n for n in bags.notes)
    genes = bags.features["counts"]
    assert genes == ("G1", "G2", "only_A1", "only_B2")
    for i, name in enumerate(bags.instance.index):
        slide, spot = name.split("_")
        want = tables[slide].loc[spot].reindex(genes, fill_value=0)
        np.testing.assert_array_equal(bags.x["counts"][[i]].toarray()[0], want)


def test_genes_of_one_name_of_the_first_arrays(tmp_path):
    counts = legacy(tmp_path / "st", "A1")
    names = [counts.columns[0]] * 2 + list(counts.columns[2:])
    counts.set_axis(names, axis=1).to_csv(tmp_path / "st" / "A1.tsv", sep="\t")
    pictures = {"A1": tmp_path / "st" / "A1.png"}
    save(pictures["A1"], draw(0))
    with pytest.warns(UserWarning, match=f"several features .{names[0]}.: they are told apart"):
        bags = sm.read_slides(tmp_path / "st", images=pictures, um_per_px=1, tile_px=SIDE,
                              edge="drop")  # fmt: skip
    assert bags.features["counts"][:2] == (names[0], f"{names[0]}-1")


def test_legacy_that_does_not_fit(tmp_path):
    folder, images = tmp_path / "st", tmp_path / "im"
    counts = legacy(folder, "A1")
    save(images / "A1.png", draw(0))

    def wrong(match):
        with pytest.raises(InputError, match=match):
            read(folder, images=images)

    counts.drop(index="3x5").to_csv(folder / "A1.tsv", sep="\t")
    assert any("1 of 12 spots have no counts (first: 3x5)" in n
               for n in read(folder, images=images).notes)  # fmt: skip
    counts.set_axis([f"s{i}" for i in range(12)]).to_csv(folder / "A1.tsv", sep="\t")
    wrong(r"A1\.tsv \(spots such as s0\) and .*A1_selection\.tsv .* have no spot in common")
    counts.astype(object).replace(2, "two").to_csv(folder / "A1.tsv", sep="\t")
    wrong(r"A1\.tsv holds text among the counts")
    (-counts).to_csv(folder / "A1.tsv", sep="\t")
    wrong(r"A1\.tsv has a count of -")
    pd.concat([counts, counts]).to_csv(folder / "A1.tsv", sep="\t")
    wrong(r"A1\.tsv")
    (folder / "A1.tsv").unlink()
    legacy(folder, "A1", gz=True, n=12)
    content = (folder / "A1.tsv.gz").read_bytes()
    (folder / "A1.tsv.gz").write_bytes(content[:-30])
    wrong(r"A1\.tsv\.gz is cut short or damaged")
    (folder / "A1.tsv.gz").write_bytes(content[:30] + b"\xff" * 20 + content[50:])
    wrong(r"A1\.tsv\.gz is cut short or damaged")
    (folder / "A1.tsv.gz").write_bytes(content)
    pd.DataFrame({"x": [1], "y": [2]}).to_csv(folder / "A1_selection.tsv", sep="\t")
    wrong(r"A1_selection\.tsv lacks columns pixel_x, pixel_y")
    legacy(folder, "A1", gz=True)
    (images / "A1.png").rename(images / "Z9.png")
    save(images / "Z8.png", draw(0))
    wrong("1 slides have no image: A1; there are images of Z8, Z9")


# ---------------------------------------------------------------- (e) images alone


@pytest.fixture
def folder(tmp_path):
    pictures = {s: draw(i, 130, 170) for i, s in enumerate(("s1", "s2", "s3"))}
    for s, rgb in pictures.items():
        save(tmp_path / "im" / f"{s}.png", rgb)
    (tmp_path / "im" / "readme.txt").write_text("not an image")
    table = pd.DataFrame({"image": ["s3", "s1", "s2"], "patient": ["q", "p", "p"],
                          "grade": ["high", "low", "low"]})  # fmt: skip
    return tmp_path / "im", table, pictures


def test_images_and_table(folder, tmp_path):
    images, table, pictures = folder
    table.to_csv(tmp_path / "t.csv", index=False)
    for given in (table, tmp_path / "t.csv", str(tmp_path / "t.csv")):
        bags = read(images, table=given, slide="image", donor="patient", label="grade",
                    tile_px=32, um_per_px=0.5)  # fmt: skip
        assert dict(bags.bag["grade"]) == {"s1": "low", "s2": "low", "s3": "high"}
        assert bags.donor == "patient"
        assert bags.bag.loc["s3", "patient"] == "q"
        assert bags.target == "grade"
        assert list(np.diff(bags.offsets)) == [20, 20, 20]
        assert "counts" not in bags.x
        check_tiles(bags, pictures, 32)
    one = read(images / "s2.png", tile_px=32)
    assert list(one.bag.index) == ["s2"]
    listed = read([images / "s2.png", images / "s1.png"], tile_px=32)
    assert set(listed.bag.index) == {"s1", "s2"}
    mapped = read({"x": images / "s1.png"}, tile_px=32)
    check_tiles(mapped, {"x": pictures["s1"]}, 32)


def test_grid_leaves_glass_out(folder):
    images, _, pictures = folder
    pictures["s1"][:, 85:] = 245
    save(images / "s1.png", pictures["s1"])
    bags = read(images / "s1.png", tile_px=32)
    assert set(bags.instance["x_px"]) == {21, 53, 85}  # of five columns; the third is half glass
    assert bags.instance["tissue"].between(0.1, 1).all()
    assert len(read(images / "s1.png", tile_px=32, tissue_min=0.0).instance) == 20
    assert set(read(images / "s1.png", tile_px=32, tissue_min=0.6).instance["x_px"]) == {21, 53}
    half = read(images / "s2.png", tile_px=32, overlap=0.5)
    assert half.n_instances == 9 * 7
    check_tiles(half, {"s2": pictures["s2"]}, 32)
    quality = read(images / "s2.png", tile_px=32, quality=True)
    assert {"blur", "pen"} <= set(quality.instance)
    assert (quality.instance["blur"] > 0).all()


def test_nuclei(tmp_path):
    y, x = np.mgrid[:200, :240]
    rgb = np.full((200, 240, 3), [230, 185, 210], np.uint8)
    centers = np.array([[50, 60], [120, 80], [180, 150], [70, 140], [3, 100]])
    for cx, cy in centers:
        rgb[(x - cx) ** 2 + (y - cy) ** 2 <= 36] = [88, 60, 140]
    save(tmp_path / "n.png", rgb)
    bags = read(tmp_path / "n.png", tiles="nuclei", um_per_px=0.5, tile_px=32)
    got = bags.instance[["x_px", "y_px"]].to_numpy()
    assert bags.n_instances == 4  # the one at the edge has no whole tile
    assert any("1 of 5 tiles leave the picture and are left out" in n for n in bags.notes)
    distance = np.abs(got[:, None] - centers[None, :4]).max(2)
    assert (distance.min(0) < 1.5).all()


def test_images_that_do_not_fit(folder, tmp_path):
    images, table, _ = folder

    def wrong(match, source=images, **kwargs):
        with pytest.raises(InputError, match=match):
            read(source, **({"tile_px": 32} | kwargs))

    wrong("which column of table names the slide", table=table)
    wrong("which column of table names the slide", table=table, slide="nope")
    wrong(r"1 slides of table have no image: s9; there are images of s1, s2, s3",
          table=table.replace("s3", "s9"), slide="image")  # fmt: skip
    wrong("several rows for slide 's1'", table=table.replace("s3", "s1"), slide="image")
    wrong("nope", table=table, slide="image", label="nope")
    wrong("nope", table=table, slide="image", donor="nope")
    wrong(r"no file .*gone\.csv", table=tmp_path / "gone.csv", slide="image")
    (tmp_path / "bad.csv").write_bytes(b"\x89PNG\xff\xfe")
    wrong(r"bad\.csv, line 1: no text in UTF-8", table=tmp_path / "bad.csv", slide="image")
    wrong("µm per pixel of slide 's1'", tile_px=None)
    wrong("a tile of 140 px does not fit", tile_px=140)
    wrong("slide 's1' has no spots", tiles="spots")
    wrong("no file or folder .*gone", tmp_path / "gone")
    wrong("the list of images is empty", [])
    wrong(r"1 image files are missing: .*gone\.png", [images / "s1.png", images / "gone.png"])
    wrong("images have no columns", um_per_px="column")
    (tmp_path / "empty").mkdir()
    wrong("empty holds no slides: expected the output of Space Ranger", tmp_path / "empty")
    bags = read(images, table=table[1:], slide="image", tile_px=32)
    assert list(bags.bag.index) == ["s1", "s2"]
    assert bags.notes == ("1 slides are not in table and are left out: s3.",)
    assert [(n.bags, n.instances) for n in bags.left] == [(1, None)]
    only = read(images, table=table, slide="image", tile_px=32, only="s1")
    assert [(n.bags, n.asked) for n in only.left] == [(len(table) - 1, True)]
    save(images / "s2.jpg", draw(0))
    wrong(r"s2\.jpg and .*s2\.png are both the image of slide 's2'")


# ---------------------------------------------------------------- (f) ready tiles


@pytest.fixture
def competition(tmp_path):
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 255, (6, 32, 32, 3), np.uint8)
    for i, rgb in enumerate(tiles):
        save(tmp_path / ("train" if i < 4 else "test") / f"{i}.png", rgb)
    genes = pd.DataFrame(rng.normal(2, 1, (4, 3)), columns=["GA", "GB", "GC"])
    train = pd.DataFrame({"ID": [f"T{i}" for i in range(4)],
                          "path": [f"train/{i}.png" for i in range(4)],
                          "slide_name": ["s1", "s2", "s1", "s2"]})  # fmt: skip
    pd.concat([train, genes], axis=1).to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame({"ID": ["T4", "T5"], "path": ["./test/4.png", "test/5.png"]}).to_csv(
        tmp_path / "test.csv", index=False)  # fmt: skip
    return tmp_path, tiles, genes


def test_read_tiles(competition):
    folder, tiles, genes = competition
    bags = sm.read_tiles(folder, folder / "train.csv", slide="slide_name", um_per_px=0.5)
    assert list(bags.bag.index) == ["s1", "s2"]
    assert list(bags.instance.index) == ["T0", "T2", "T1", "T3"]
    order = [0, 2, 1, 3]
    got = bags.x["tile"].read(0, 4)
    np.testing.assert_array_equal(got, tiles[order].transpose(0, 3, 1, 2))
    np.testing.assert_allclose(bags.x["counts"], genes.to_numpy()[order], rtol=1e-6)
    assert bags.features["counts"] == ("GA", "GB", "GC")
    assert (bags.bag[["um_per_px", "tile_um_per_px"]] == 0.5).all(None)
    assert (bags.bag["tile_um"] == 16).all()
    half = sm.read_tiles(folder, folder / "train.csv", slide="slide_name", um_per_px=0.5, size=16)
    assert (half.bag["tile_um_per_px"] == 1).all()
    from smalti.features.sources import tile_pixels

    assert (tile_pixels(half, half.x["tile"]) == 1).all()  # of the tile as it is read
    test = sm.read_tiles(folder, folder / "test.csv")
    assert "counts" not in test.x
    assert list(test.bag.index) == ["tiles"]
    np.testing.assert_array_equal(test.x["tile"].read(1, 2)[0], tiles[5].transpose(2, 0, 1))
    small = sm.read_tiles(folder / "test", folder / "test.csv", size=16)  # by the file's own name
    want = np.asarray(Image.fromarray(tiles[4]).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(small.x["tile"].read(0, 1)[0], want.transpose(2, 0, 1))
    pd.read_csv(folder / "train.csv").to_csv(folder / "indexed.csv")  # an index is no gene
    again = sm.read_tiles(folder, folder / "indexed.csv", slide="slide_name")
    assert again.features["counts"] == ("GA", "GB", "GC")


@pytest.mark.parametrize("file", [False, True])  # pandas calls the second GA "GA.1"
def test_genes_of_one_name_of_ready_tiles(competition, file):
    folder, _, _ = competition
    table = pd.read_csv(folder / "train.csv").rename(columns={"GB": "GA"})
    table.to_csv(folder / "twice.csv", index=False)
    given = folder / "twice.csv" if file else table
    with pytest.warns(UserWarning, match=r"1 names in .* are of several features \(GA\)"):
        bags = sm.read_tiles(folder, given, slide="slide_name")
    assert bags.features["counts"] == ("GA", "GA-1", "GC")
    assert len(bags.notes) == 1


def test_ready_tiles_that_do_not_fit(competition):
    folder, _, _ = competition
    table = pd.read_csv(folder / "train.csv")

    def wrong(match, change, **kwargs):
        with pytest.raises(InputError, match=match):
            sm.read_tiles(folder, change, **({"slide": "slide_name"} | kwargs))

    wrong("the table has no column 'ID'", table.drop(columns="ID"))
    wrong("the table has no column 'nope'", table, slide="nope")
    wrong("column 'slide_name' of the table holds text, so it is no gene", table, slide=None)
    wrong("has tile 'T1' twice", table.replace("T3", "T1"))
    wrong(
        r"1 of 4 tiles of the table have no file: .*9\.png", table.replace("train/3.png", "9.png")
    )
    wrong("no number for gene 'GB' of tile 'T2'", table.assign(GB=[1, 2, np.nan, 4]))
    wrong("the table has no rows", table[:0])
    wrong(r"no file .*gone\.csv", folder / "gone.csv")
    wrong("the table has several columns 'slide_name'", table.rename(columns={"GA": "slide_name"}))
    path = folder / "train" / "1.png"
    path.write_bytes(path.read_bytes()[:900])
    bags = sm.read_tiles(folder, table, slide="slide_name")
    with pytest.raises(InputError, match=r"train/1\.png is cut short or damaged"):
        bags.x["tile"].read(0, 4)
    save(path, draw(0, 20, 32))
    with pytest.raises(InputError, match=r"1\.png has 32 x 20 px: ready tiles are square"):
        bags.x["tile"].read(0, 4)
    save(path, draw(0, 20, 20))
    bags.x["tile"].read(0, 4)  # resized
    bags = sm.read_tiles(folder, table, slide="slide_name", um_per_px=0.5)
    with pytest.raises(InputError, match=r"1\.png has 20 px, others 32: with one um_per_px"):
        bags.x["tile"].read(0, 4)


# ---------------------------------------------------------------- (g) real data


@pytest.mark.data
@pytest.mark.slow  # seconds of real data
def test_her2st(data):
    source = data / "her2st" / "her2st_5sections_counts.h5ad"
    bags = read(source, images=data / "her2st" / "images", slide="slide", donor="patient",
                tile_px=None, tile_um=112)  # fmt: skip
    table = ad.read_h5ad(source)
    assert dict(zip(bags.bag.index, np.diff(bags.offsets), strict=True)) == {
        "B4": 283, "C2": 187, "C3": 180, "C4": 184, "C5": 181}  # fmt: skip
    assert bags.n_instances == 1015
    assert bags.bag["patient"].nunique() == 2
    assert (bags.x["counts"] != sp.csr_matrix(table.X)[bags.rows]).nnz == 0
    assert bags.features["counts"] == tuple(table.var_names)
    assert bags.x["tile"].shape == (1015, 3, 224, 224)
    assert (bags.instance["tissue"] > 0.2).mean() > 0.9


@pytest.mark.data
@pytest.mark.slow  # seconds of real data
def test_glas(data):
    bags = read(data / "glas" / "images", table=data / "glas" / "labels.csv", slide="image",
                donor="patient", label="label", um_per_px=0.62, tile_px=None,
                tile_um=70)  # fmt: skip
    assert len(bags.bag) == 85
    assert bags.bag["patient"].nunique() == 15
    assert set(bags.bag["label"]) == {"benign", "malignant"}
    assert (np.diff(bags.offsets) >= 4).all()
    assert bags.x["tile"].read(0, 2).shape == (2, 3, 224, 224)


@pytest.mark.slow
def test_ready_tiles_in_a_fresh_process(competition):
    """The first picture is opened by four threads at once, with ``size`` given."""
    import subprocess
    import sys

    folder, _, _ = competition
    code = (
        f"import smalti as sm; b = sm.read_tiles({str(folder)!r}, {str(folder / 'test.csv')!r}, "
        "size=8); print(b.x['tile'].read(0, 2).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(2, 3, 8, 8)", done.stderr


def test_what_many_slides_share_is_said_once():
    from smalti.io.assemble import _fewer

    many = [f"slide 'S{i}': {i + 1} of 9 tiles hold no tissue (first: S{i}_a) and are kept."
            for i in range(8)]  # fmt: skip
    other = "slide 'S1': 1 of 9 tiles leave the picture and are left out."
    assert _fewer([*many, other]) == [f"{many[0]} So too on 7 other slides.", other]
    assert _fewer(many[:3]) == many[:3]
