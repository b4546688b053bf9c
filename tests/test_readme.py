"""What the README shows runs as it stands, on files such as users have, and prints what it says."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import smalti as sm

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text("utf-8"), re.S | re.M)
GENES = ["EPCAM", "KRT8", "KRT18", "CDH1", "MUC2", "VIL1",
         "COL1A1", "COL3A1", "VIM", "CD3E", "CD8A", "PTPRC"]  # fmt: skip
NUMBER = re.compile(r"[-+]?\d+\.\d+")


def cells_of(n_samples, seed):
    """Cells of samples: two types, counts, components; a type is more frequent in the ill."""
    import anndata as ad

    rng, n = np.random.default_rng(seed), 40 * n_samples
    sample = np.repeat(np.arange(n_samples), 40)
    ill = sample % 2 == 1
    kind = rng.uniform(size=n) < np.where(ill, 0.7, 0.3)
    rate = rng.gamma(2.0, 1.0, 300) * np.where(np.arange(300) < 60, 3.0, 1.0)
    counts = rng.poisson(np.where(kind[:, None], rate, rate[::-1])).astype("f4")
    obs = pd.DataFrame({"sample": [f"s{s}" for s in sample], "donor": [f"d{s}" for s in sample],
                        "disease": np.where(ill, "ill", "healthy"), "age": 40.0 + sample,
                        "cell_type": np.where(kind, "B", "T")},
                       index=[f"c{i}" for i in range(n)])  # fmt: skip
    table = ad.AnnData(np.log1p(counts), obs=obs, layers={"counts": counts},
                       var=pd.DataFrame(index=[f"G{i}" for i in range(300)]))  # fmt: skip
    table.obsm["X_pca"] = (table.X @ rng.normal(size=(300, 8)) / 10).astype("f4")
    return table


def modalities_of(n_samples, seed):
    import anndata as ad
    import mudata as md

    rna = cells_of(n_samples, seed)
    protein = np.random.default_rng(seed).poisson(3 + 9.0 * (rna.obs["cell_type"] == "B"))
    other = ad.AnnData(np.log1p(np.column_stack([protein, protein[::-1]])).astype("f4"),
                       obs=rna.obs[[]], var=pd.DataFrame(index=["CD19", "CD3"]))  # fmt: skip
    cells = md.MuData({"rna": ad.AnnData(rna.X, obs=rna.obs[[]], var=rna.var), "protein": other})
    cells.obs = rna.obs
    return cells


def slides_of(folder, n, size=64):
    """Pictures of slides with a table of spots and one of labels."""
    from PIL import Image

    bags = sm.datasets.planted_slides(n, 9, n_genes=12, images=True, size=size)
    for s in range(n):
        own = bags[[s]]
        whole = np.full((500, 500, 3), 240, np.uint8)
        for tile, (x, y) in zip(own.x["tile"], own.instance[["x_px", "y_px"]].to_numpy(int),
                                strict=True):  # fmt: skip
            half = size // 2
            whole[y - half : y + half, x - half : x + half] = tile.transpose(1, 2, 0)
        Image.fromarray(whole).save(folder / f"S{s}.png")
    return bags


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with files as the README names them."""
    root = tmp_path_factory.mktemp("readme")
    cells_of(16, 0).write_h5ad(root / "cells.h5ad")
    cells_of(4, 1).write_h5ad(root / "new.h5ad")
    modalities_of(12, 0).write_h5mu(root / "cells.h5mu")
    modalities_of(4, 1).write_h5mu(root / "more.h5mu")
    for name in ("slides", "images"):
        (root / name).mkdir()
    bags = slides_of(root / "images", 4)
    table = sm.to_anndata(bags)
    table.obs = table.obs.assign(patient=table.obs["slide"])
    table.var_names = GENES
    table.write_h5ad(root / "spots.h5ad")
    slides_of(root / "slides", 8)
    labels = pd.DataFrame({"slide": [f"S{s}" for s in range(8)], "lymph": ["no", "yes"] * 4,
                           "patient": [f"P{s}" for s in range(8)]})  # fmt: skip
    labels.to_csv(root / "labels.csv", index=False)
    sets = [["CRYPT", "", *GENES[:8], "LGR5"], ["SURFACE", "", *GENES[4:], "OLFM4"]]
    (root / "sets.gmt").write_text("".join("\t".join(s) + "\n" for s in sets))
    return root


def printed(block, names):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(block, "README.md", "exec"), names)
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_of_it_runs(files, monkeypatch):
    """In order, Python in one namespace, and what is printed is what stands below the block."""
    if not os.environ.get("SMALTI_DATA"):
        pytest.skip("SMALTI_DATA is not set: the first block would fetch its cohort")
    monkeypatch.chdir(files)
    names, said, compared = {}, "", 0
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for kind, block in BLOCKS:
        if kind == "python":
            said = printed(block, names)
        elif kind == "bash":
            done = subprocess.run(["bash", "-ec", block], capture_output=True, text=True, env=env,
                                  timeout=600, check=False)  # fmt: skip
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        elif kind == "text":
            assert NUMBER.sub("#", said).split() == NUMBER.sub("#", block).split()
            for got, told in zip(NUMBER.findall(said), NUMBER.findall(block), strict=True):
                assert float(got) == pytest.approx(float(told), abs=0.03)  # of another machine
            compared += 1
    assert compared == 2


def test_blocks_of_shell_are_of_the_command_line():
    """Each line of them begins with smalti, make or pip: nothing that a reader cannot have."""
    for kind, block in BLOCKS:
        for line in block.replace("\\\n", " ").splitlines() if kind in ("bash", "") else ():
            assert line.split()[0] in {"smalti", "make", "pip"}, line
