"""One epoch over slides on disk beside the usual loops, and a cohort that fits in no memory.

    python benchmarks/slide_epoch.py epoch                 # beside CLAM's loop and torchmil's
    python benchmarks/slide_epoch.py metadata              # bytes a tile of reading a folder
    python benchmarks/slide_epoch.py cohort --slides 10000 # cross-validation on two workers

*epoch*: the same gated attention on features as they are, one thread, in turns. "loop" is written
from the description of CLAM: a DataLoader of one slide, read by h5py, one step of Adam a slide.
torchmil pads (optional, ``pip install torchmil``). Files hold rows one by one, as CLAM and
TRIDENT write them, or as a whole. Before a cold turn the system is told to forget the files.

*cohort*: a few files under many names; memory by the system, of this process and its workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

import smalti as sm
from peers import Gated, loop_step, torchmil_step
from smalti.core.stage import Gradient
from smalti.core.store import Store

HIDDEN = 128


def write(folder: Path, lengths: np.ndarray, width: int, dtype: str, layout: str) -> pd.DataFrame:
    """A file for each slide, and their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i, n in enumerate(lengths):
        x = rng.standard_normal((n, width), dtype=np.float32)
        x[:, :4] += i % 2
        side = int(np.ceil(n**0.5))
        at = np.stack([np.arange(n) % side, np.arange(n) // side], 1) * 256
        with h5py.File(folder / f"s{i}.h5", "w") as file:
            rows = layout == "rows"
            file.create_dataset("features", data=x.astype(dtype), chunks=(1, width) if rows else
                                None)  # fmt: skip
            coords = file.create_dataset("coords", data=at, chunks=(1, 2) if rows else None)
            coords.attrs["patch_size_level0"] = 256
    return labels(len(lengths))


def padded_share(lengths: np.ndarray, batch_size: int) -> float:
    order = np.random.default_rng(0).permutation(len(lengths))
    held = sum(lengths[g].max() * len(g) for g in np.array_split(
        order, range(batch_size, len(order), batch_size)))  # fmt: skip
    return float(held / lengths.sum())


def labels(n: int) -> pd.DataFrame:
    return pd.DataFrame({"slide_id": [f"s{i}" for i in range(n)], "label": np.arange(n) % 2})


class Slides(Dataset):
    """A file a slide, opened and read when it is asked for."""

    def __init__(self, folder: Path, y: np.ndarray) -> None:
        self.folder, self.y = folder, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, float]:
        with h5py.File(self.folder / f"s{i}.h5", "r") as file:
            return torch.from_numpy(file["features"][:]), float(self.y[i])


def lists(batch: list[tuple[torch.Tensor, float]]) -> tuple[list[torch.Tensor], torch.Tensor]:
    return [x for x, _ in batch], torch.tensor([y for _, y in batch])


def by_loader(folder: Path, y: np.ndarray, width: int, step: Callable, net: torch.nn.Module,
              batch_size: int) -> Callable[[], object]:  # fmt: skip
    """An epoch of a DataLoader and Adam."""
    data = DataLoader(Slides(folder, y), batch_size, shuffle=True, collate_fn=lists)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, weight_decay=1e-5)

    def run() -> None:
        for bags, target in data:
            optimizer.zero_grad()
            step(net, [x.float() for x in bags], target).backward()
            optimizer.step()

    return run


def by_smalti(bags: sm.Bags, batch_size: int, precision: str = "32-true") -> Callable[[], object]:
    """An epoch of our own loop."""
    from smalti.core import training
    from smalti.system.progress import Progress

    method = sm.mil.ABMIL(gated=True, encoder="none", standardize=False, attention_width=HIDDEN,
                          accelerator="cpu", precision=precision)  # fmt: skip
    fabric = training.make_fabric("cpu", 1, precision)
    store = Store(bags, fabric.device, torch.float32)
    fit = method.prepare(bags, np.arange(len(bags)), fabric.device)
    stage = Gradient(epochs=1, lr=2e-4, weight_decay=1e-5, batch_size=batch_size)

    def run() -> None:
        training.descend(training.Runner(fabric, stage, store, fit), progress=Progress(False))

    return run


def our_read(bags: sm.Bags) -> Callable[[], object]:
    """Reading alone, a slide at a time, in an order of its own."""
    store = Store(bags, torch.device("cpu"), torch.float32)
    order = [np.array([i]) for i in np.random.default_rng(0).permutation(len(bags))]
    return lambda: [None for _ in store.stream(order)]


def plain(folder: Path, n: int) -> Callable[[], object]:
    """h5py alone."""
    slides = Slides(folder, np.zeros(n))
    return lambda: [None for i in range(n) if slides[i] is None]


def disk(folder: Path) -> Callable[[], object]:
    """The bytes of the files, into one buffer."""
    buffer = bytearray(2**24)

    def run() -> None:
        for file in folder.glob("*.h5"):
            with file.open("rb", buffering=0) as raw:
                while raw.readinto(buffer):
                    pass

    return run


def forget(folder: Path) -> None:
    """Tell the system that these files are no longer needed in memory."""
    for file in folder.glob("*.h5"):
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def ways_of(folder: Path, table: pd.DataFrame, width: int, batch_size: int) -> dict[str, Callable]:
    bags = sm.read_features(folder, table, label="label", donor="bag").check()
    y = table["label"].to_numpy()
    loop = by_loader(folder, y, width, loop_step, Gated(width, HIDDEN), 1)
    ways = {
        "disk": disk(folder), "h5py alone": plain(folder, len(y)),
        "smalti, reading": our_read(bags), "loop": loop, "smalti, 1 a step": by_smalti(bags, 1),
        f"smalti, {batch_size} a step": by_smalti(bags, batch_size),
        f"smalti, {batch_size}, bf16": by_smalti(bags, batch_size, "bf16-mixed"),
    }  # fmt: skip
    try:
        from torchmil.models import ABMIL
    except ImportError:
        print("torchmil is not installed: its row is left out")
        return ways
    model = ABMIL(in_shape=(width,), att_dim=HIDDEN, gated=True)
    return ways | {
        f"torchmil, {batch_size} a step": by_loader(folder, y, width, torchmil_step, model,
                                                    batch_size)
    }  # fmt: skip


def epoch(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    lengths = np.exp(rng.normal(np.log(args.tiles), args.spread, args.slides)).astype(int)
    lengths = lengths.clip(20, 10 * args.tiles)
    print(f"{args.slides} slides of {lengths.min():,} to {lengths.max():,} tiles, "
          f"{lengths.sum():,} in all, x {args.width}; padding {args.batch} slides at a time "
          f"would hold {padded_share(lengths, args.batch):.1f} times the tiles; medians of "
          f"{args.rounds} turns (least to most)")  # fmt: skip
    for case in args.cases:
        dtype, layout = case.split("-")
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            table = write(folder, lengths, args.width, dtype, layout)
            size = sum(f.stat().st_size for f in folder.glob("*.h5"))
            ways = ways_of(folder, table, args.width, args.batch)
            for run in ways.values():
                run()  # what is imported or made once
            found: dict[tuple[str, str], list[tuple[float, float]]] = {}
            for cache in ("warm", "cold"):
                for _ in range(args.rounds):
                    for way, run in ways.items():
                        if cache == "cold":
                            forget(folder)
                        cpu, wall = time.process_time(), time.perf_counter()
                        run()
                        spent = time.process_time() - cpu, time.perf_counter() - wall
                        found.setdefault((cache, way), []).append(spent)
        print(f"\n{dtype}, {'row by row' if layout == 'rows' else 'as a whole'}, "
              f"{size / 1e6:,.0f} MB")  # fmt: skip
        print("| way | warm: CPU s | of the loop | cold: CPU s | s | of the loop | MB/s |")
        print("|---|---|---|---|---|---|---|")
        for way in ways:
            warm, cold = found["warm", way], found["cold", way]
            ratios = [_ratio(found[c, "loop"], rows, k) for c, rows, k in
                      (("warm", warm, 0), ("cold", cold, 1))]  # fmt: skip
            wall = statistics.median(s for _, s in cold)
            print(f"| {way} | {_range(warm, 0)} | {ratios[0]} | {_range(cold, 0)} | "
                  f"{_range(cold, 1)} | {ratios[1]} | {size / wall / 1e6:,.0f} |",
                  flush=True)  # fmt: skip


def _range(rows: list[tuple[float, float]], k: int) -> str:
    values = [row[k] for row in rows]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _ratio(loop: list[tuple[float, float]], rows: list[tuple[float, float]], k: int) -> str:
    """How many times as fast as the loop, by medians."""
    return f"{statistics.median(r[k] for r in loop) / statistics.median(r[k] for r in rows):.2f}x"


# -------------------------------------------------------------------- memory


def peak() -> int:
    """Bytes of memory that this process took at its height, by the system."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024


def linked(folder: Path, slides: int, tiles: int, width: int) -> pd.DataFrame:
    """A few files under many names."""
    few = min(8, slides)
    write(folder / "real", np.full(few, tiles), width, "f2", "whole")
    for i in range(slides):
        os.link(folder / "real" / f"s{i % few}.h5", folder / f"s{i}.h5")
    return labels(slides)


def metadata(args: argparse.Namespace) -> None:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    sizes = [args.slides // 4, args.slides // 2, args.slides]
    peaks = []
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        for n in sizes:
            folder = Path(name) / str(n)
            table = linked(folder, n, args.tiles, 2)
            with context.Pool(1) as pool:
                seconds, bytes_ = pool.apply(read_once, (folder, table))
            peaks.append(bytes_)
            print(f"{n:,} slides x {args.tiles:,} tiles: {bytes_ / 2**20:,.0f} MiB at the peak, "
                  f"{seconds:.1f} s", flush=True)  # fmt: skip
    tiles = np.array(sizes) * args.tiles
    print(f"{np.polyfit(tiles, peaks, 1)[0]:.1f} bytes a tile (slope over the three)")


def read_once(folder: Path, table: pd.DataFrame) -> tuple[float, int]:
    began = time.perf_counter()
    bags = sm.read_features(folder, table, label="label", donor="bag")
    assert len(bags) == len(table)
    return time.perf_counter() - began, peak()


def family() -> Iterator[int]:
    """This process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
            except OSError:
                continue
    inside = {os.getpid()}
    while more := {p for p, above in parents.items() if above in inside} - inside:
        inside |= more
    yield from inside


def shared_out() -> int:
    """Bytes of memory of the family; what several share counts once (PSS)."""
    total = 0
    for process in family():
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def cohort(args: argparse.Namespace) -> None:
    """Cross-validation of a cohort that fits in no memory."""
    highest, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            highest[0] = max(highest[0], shared_out())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        table = linked(folder, args.slides, args.tiles, args.width)
        began = time.perf_counter()
        bags = sm.read_features(folder, table, label="label", donor="bag")
        read, alone = time.perf_counter() - began, peak()
        order = np.random.default_rng(0).permutation(len(bags))
        halves = np.array_split(order, 2)
        method = sm.mil.ABMIL(gated=True, encoder="none", attention_width=16, epochs=1,
                              accelerator="cpu", progress=False)  # fmt: skip
        models = sm.fit_many([(method, half) for half in halves], bags, n_jobs=args.jobs)
        fitted = time.perf_counter() - began - read
        right = np.mean([np.mean(m.predict(bags[h[:20]]) == bags[h[:20]].labels)
                         for m, h in zip(models, halves[::-1], strict=True)])  # fmt: skip
    ended.set()
    watcher.join()
    print(f"{len(bags):,} slides, {bags.n_instances:,} tiles x {args.width}, float16, "
          f"{bags.n_instances * args.width * 2 / 1e9:,.1f} GB: read in {read:.1f} s, "
          f"{alone / 2**30:.2f} GiB at the peak; two folds of one epoch on {args.jobs} workers in "
          f"{fitted:.0f} s, {highest[0] / 2**30:.2f} GiB in all at the peak (PSS); "
          f"accuracy {right:.2f} of the first 20 left out")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["epoch", "metadata", "cohort"])
    parser.add_argument("--slides", type=int, default=24)
    parser.add_argument("--tiles", type=int, default=4000)
    parser.add_argument("--spread", type=float, default=1.0, help="of the logarithm of tiles")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", default=None, help="where files are written for the time")
    parser.add_argument("--cases", nargs="+",
                        default=["f4-rows", "f2-rows", "f4-whole", "f2-whole"])  # fmt: skip
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    {"epoch": epoch, "metadata": metadata, "cohort": cohort}[args.what](args)


if __name__ == "__main__":
    main()
