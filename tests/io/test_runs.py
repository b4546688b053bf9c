"""Runs of Space Ranger wherever their files lie: flat, with prefixes, packed."""

import gzip
import json

import layouts
import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.io.runs import runs_of

pytest.importorskip("skimage")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def read(source, **how):
    return sm.read_slides(source, **{"tile_px": 24, "size": 8, "progress": False} | how)


@pytest.mark.parametrize("market", [False, True])
def test_sections_that_lie_flat_with_prefixes(tmp_path, market):
    counts = [layouts.geo(tmp_path, f"GSM{i}_S{i}_", i, market) for i in (1, 2)]
    bags = read(tmp_path, donor="bag")
    assert bags.bag.index.tolist() == ["GSM1_S1", "GSM2_S2"]
    np.testing.assert_array_equal(bags.x["counts"].toarray(), np.concatenate(counts))
    for i, seed in ((0, 1), (12, 2)):
        tile = bags.x["tile"].read(i, i + 1)[0]
        whole = read(tmp_path, only=[f"GSM{seed}_S{seed}"], size=24).x["tile"].read(0, 1)[0]
        rgb = layouts.drawn(seed)[48:72, 48:72].transpose(2, 0, 1)
        np.testing.assert_array_equal(whole, rgb)
        assert tile.shape == (3, 8, 8)


def test_a_prefix_in_a_folder_with_spatial(tmp_path):
    """As GEO names the matrix alone, or all of them, and as they are put back by hand."""
    counts = layouts.geo(tmp_path)
    spatial = tmp_path / "spatial"
    spatial.mkdir()
    for file in list(tmp_path.glob("*.gz")):
        file.rename(spatial / file.name)
    bags = read(tmp_path)
    assert bags.bag.index.tolist() == [tmp_path.name]
    np.testing.assert_array_equal(bags.x["counts"].toarray(), counts)
    other = spatial / "GSM9_tissue_positions_list.csv.gz"
    other.write_bytes((spatial / "GSM1_S1_tissue_positions_list.csv.gz").read_bytes())
    with pytest.raises(InputError, match="several files that may be tissue_positions_list.csv.gz"):
        read(tmp_path)


def test_a_matrix_without_spots_is_no_run(tmp_path):
    layouts.save_h5(
        tmp_path / "GSM1_filtered_feature_bc_matrix.h5", layouts.poisson(3), list("abc")
    )
    assert runs_of(tmp_path) == []
    with pytest.raises(InputError, match="holds no slides"):
        read(tmp_path)


def test_what_is_packed_and_cannot_be_read_so(tmp_path):
    layouts.geo(tmp_path, "")
    file = tmp_path / "filtered_feature_bc_matrix.h5"
    (tmp_path / "spatial").mkdir()
    data = file.read_bytes()
    (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(data))
    file.unlink()
    with pytest.raises(InputError, match=r"matrix\.h5\.gz is packed: unpack it first"):
        read(tmp_path)
    file.write_bytes(data)
    picture = layouts.save_picture(tmp_path / "he.tif", layouts.drawn())
    (tmp_path / "he.tif.gz").write_bytes(gzip.compress(picture.read_bytes()))
    with pytest.raises(InputError, match=r"he\.tif\.gz is packed: unpack it first"):
        read(tmp_path, images=tmp_path / "he.tif.gz")


@pytest.mark.parametrize("ends", ["2", "12"])
def test_counts_of_other_runs_are_refused(tmp_path, ends):
    """The same barcodes are on every slide: by its sequence any section's spot would fit."""
    layouts.geo(tmp_path, "")
    names = [f"AAAC{i:04d}-{ends[i % len(ends)]}" for i in range(12)]
    (tmp_path / "filtered_feature_bc_matrix.h5").unlink()
    layouts.save_h5(tmp_path / "filtered_feature_bc_matrix.h5", layouts.poisson(12), names)
    with pytest.raises(InputError, match=r"counts end in -.*2, of the positions in -1"):
        read(tmp_path)


def test_scales_in_a_gzip_are_checked_as_others(tmp_path):
    layouts.geo(tmp_path, "")
    (tmp_path / "scalefactors_json.json.gz").write_bytes(
        gzip.compress(json.dumps({"tissue_hires_scalef": 3}).encode())
    )
    with pytest.raises(InputError, match="gives no tissue_hires_scalef of at most 1"):
        read(tmp_path)
