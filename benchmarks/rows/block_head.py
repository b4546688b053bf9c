"""One trunk under a block head, against a network for each group of genes."""

WORK = "block head: 3,467 genes in 5 groups, 64 tiles of 112 px, forward and backward"
PEER, GOAL = "five networks", 3.5
GROUPS, GENES = 5, 3467
BOUND = (
    "the trunk, which is all but the whole work: five networks run it five times, so that "
    "the ratio cannot pass 5."
)


def data(share):
    import numpy as np

    rng = np.random.default_rng(0)
    tiles = rng.random((max(2, int(64 * share)), 3, 112, 112), dtype=np.float32)
    return tiles, rng.integers(GROUPS, size=GENES)


def smalti(tiles, groups):
    import torch

    from smalti.nn.gene_head import GeneHead
    from smalti.nn.tile_net import TileNet

    x, trunk, head = torch.as_tensor(tiles), TileNet(), GeneHead(160, tuple(groups.tolist()), 128)
    return lambda: head(trunk(x))[0].square().mean().backward()


def peer(tiles, groups):
    import torch

    from smalti.nn.gene_head import GeneHead
    from smalti.nn.tile_net import TileNet

    x = torch.as_tensor(tiles)
    sizes = [(groups == g).sum() for g in range(GROUPS)]
    parts = [(TileNet(), GeneHead(160, (0,) * int(n), 128)) for n in sizes]

    def run():
        for trunk, head in parts:
            head(trunk(x))[0].square().mean().backward()

    return run


def least(tiles, groups):
    """Convolutions of the trunk: forward and, but for the first, twice backward."""
    side, flops, before = 112, 0, 3
    for width in (20, 40, 80, 160):
        side //= 2
        once = 2 * len(tiles) * side * side * 9 * width * (before + width)
        flops += 3 * once
        before = width
    return {"float32": flops - 2 * len(tiles) * 56 * 56 * 9 * 20 * 3}
