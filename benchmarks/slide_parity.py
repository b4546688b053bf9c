"""TransMIL and DTFD-MIL beside torchmil's: the same weights and bags, so the same logits?

Where the equations agree they must be the same to rounding (float64); where they do not, how far
they are apart. Then CPU seconds of a forward and a backward pass of one bag, in turn; and of small
bags by the tensor and bag by bag. Needs torchmil; without it, ours alone are timed.

    python benchmarks/slide_parity.py [--sizes 1000,10000] [--rounds 5] [--width 512]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

import smalti as sm
from peers import mend_torchvision
from smalti.batch import Batch, Shape
from smalti.nn.order import content_hash, in_order
from smalti.segment import Segments
from smalti.task import Task

BARE = {"encoder": "none", "standardize": False}


def batch_of(x: Tensor) -> Batch:
    return Batch({"x": x}, Segments.of(torch.tensor([0, len(x)])))


def ours(method: sm.Method, width: int) -> nn.Module:
    torch.manual_seed(0)
    return method.network(Shape({"x": (width,)}, Task.infer([0, 1]), 1)).eval()


# ---------------------------------------------------------------- TransMIL


def transmil(width: int, heads: int, landmarks: int, iterations: int) -> tuple[nn.Module, ...]:
    """Both, with the weights of ours; what torchmil's lacks is without effect in ours."""
    from torchmil.models import TransMIL

    one = ours(sm.mil.TransMIL(heads=heads, landmarks=landmarks, iterations=iterations, **BARE),
               width)  # fmt: skip
    two = TransMIL((width,), att_dim=width, n_heads=heads, n_landmarks=landmarks,
                   pinv_iterations=iterations).eval()  # fmt: skip
    with torch.no_grad():
        for layer in (one.first, one.last):
            layer.along.weight.zero_()
            layer.out[0].weight.copy_(torch.eye(width))
            layer.out[0].bias.zero_()
    two.cls_token.data.copy_(one.token)
    for theirs, own in zip(two.layers, (one.first, one.last), strict=True):
        theirs.att_module.qkv_nn.load_state_dict(own.query_key_value.state_dict())
        theirs.norm1.load_state_dict(own.norm.state_dict())
    places = (one.places.seven, one.places.five, one.places.three)
    convolutions = (two.pos_layer.proj, two.pos_layer.proj1, two.pos_layer.proj2)
    for theirs, own in zip(convolutions, places, strict=True):
        theirs.load_state_dict(own.state_dict())
    two.norm.load_state_dict(one.norm.state_dict())
    two.classifier.load_state_dict(one.head.state_dict())
    return one, two


def transmil_cases() -> Iterator[tuple[str, float, float]]:
    for said, n, heads, landmarks, iterations in (
        ("one head, landmarks divide the tokens", 45, 1, 10, 6),
        ("four heads, inverse of 6 steps", 45, 4, 10, 6),
        ("four heads, inverse of 30 steps", 45, 4, 10, 30),
        ("fewer tokens than landmarks: they pad with zeros", 45, 1, 64, 30),
        ("as many tokens as landmarks: ours is exact", 9, 1, 10, 60),
        ("landmarks do not divide the tokens", 45, 1, 12, 30),
    ):
        one, two = (net.double() for net in transmil(16, heads, landmarks, iterations))
        x = torch.randn(n, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        x = x[in_order(batch_of(x).segments, x.sum(1))]  # ours reads them so
        with torch.no_grad():
            yield said, float(one(batch_of(x)).raw), float(two(x[None]))


# ---------------------------------------------------------------- DTFD-MIL


def dtfd(width: int, distil: str, groups: int) -> tuple[nn.Module, ...]:
    from torchmil.models import DTFDMIL

    one = ours(sm.mil.DTFD(distil=distil, gated=False, pseudo_bags=groups, **BARE), width)
    two = DTFDMIL((width,), att_dim=128, n_groups=groups, distill_mode=distil).eval()
    for theirs, own in ((two.attention_pool, one.attention),
                        (two.u_attention_pool, one.second_attention)):  # fmt: skip
        theirs.fc1.module.load_state_dict(own.inner.state_dict())
        theirs.fc2.weight.data.copy_(own.outer.weight)  # a softmax does not see the constant
    for theirs, own in ((two.classifier, one.head), (two.u_classifier, one.second_head)):
        theirs.module.load_state_dict(own.state_dict())
    return one, two


def dtfd_cases() -> Iterator[tuple[str, float, float]]:
    for said, n, groups, distil in (
        ("afs", 40, 8, "afs"),
        ("max, one instance a pseudo-bag", 8, 8, "max"),
        ("max: they give all instances on", 40, 8, "max"),
        ("maxmin: they give all instances on, twice", 40, 8, "maxmin"),
    ):
        one, two = (net.double() for net in dtfd(16, distil, groups))
        x = torch.randn(n, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        dealt = content_hash(x, one.hash).argsort().numpy()
        with (
            torch.no_grad(),
            mock.patch("numpy.random.shuffle", lambda a, d=dealt: np.copyto(a, d)),
        ):
            theirs = two(x[None], torch.ones(1, n))
            yield said, float(one(batch_of(x)).raw), float(theirs)


# ---------------------------------------------------------------- time


def seconds(step: Callable[[], Tensor], net: nn.Module) -> float:
    net.zero_grad()
    before = time.process_time()
    step().sum().backward()
    return time.process_time() - before


def timed(width: int, n: int, rounds: int, *, beside: bool) -> None:
    x = torch.randn(n, width)
    pairs: dict[str, tuple[nn.Module, ...]] = {}
    if beside:
        pairs = {"transmil": transmil(width, 8, 256, 6), "dtfd": dtfd(width, "afs", 4)}
    else:
        pairs = {"transmil": (ours(sm.mil.TransMIL(**BARE), width),),
                 "dtfd": (ours(sm.mil.DTFD(**BARE), width),)}  # fmt: skip
    for name, nets in pairs.items():
        steps = [lambda net=nets[0]: net(batch_of(x)).raw]
        if beside:
            steps.append(lambda net=nets[1]: net(x[None]))
        spent = np.array([[seconds(s, net.train()) for s, net in zip(steps, nets, strict=True)]
                          for _ in range(rounds + 1)])[1:]  # fmt: skip
        told = [f"{np.median(t):.3f} s ({t.min():.3f} to {t.max():.3f})" for t in spent.T]
        ratio = f"; ratio {np.median(spent[:, 1] / spent[:, 0]):.2f}" if beside else ""
        print(f"{name}, {n:,} instances: ours {', torchmil '.join(told)}{ratio}", flush=True)


def in_groups(width: int, rounds: int) -> None:
    """A step of 32 small bags: those of one side as one tensor, beside bag after bag."""
    bags = sm.datasets.planted_bags(32, n_features=width)
    net = ours(sm.mil.TransMIL(**BARE), width).train()
    x = torch.as_tensor(bags.table())
    whole = Batch({"x": x}, Segments.of(torch.as_tensor(bags.offsets)))
    each = [batch_of(part) for part in x.split(bags.lengths.tolist())]
    steps = [lambda: net(whole).raw, lambda: torch.cat([net(one).raw for one in each])]
    spent = np.array([[seconds(s, net) for s in steps] for _ in range(rounds + 1)])[1:]
    told = [f"{np.median(t):.3f} s ({t.min():.3f} to {t.max():.3f})" for t in spent.T]
    print(f"transmil, 32 bags of {bags.lengths.min()} to {bags.lengths.max()}: by side {told[0]}, "
          f"bag by bag {told[1]}; ratio {np.median(spent[:, 1] / spent[:, 0]):.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=512)
    args = parser.parse_args()
    mend_torchvision()
    try:
        import torchmil  # noqa: F401

        beside = True
    except ImportError:
        print("torchmil is not installed: ours alone")
        beside = False
    for cases in (transmil_cases, dtfd_cases) if beside else ():
        for said, one, two in cases():
            print(f"{cases.__name__.split('_')[0]:9} {said:50} ours {one:+.12f}  torchmil "
                  f"{two:+.12f}  apart {abs(one - two):.1e}")  # fmt: skip
    for n in map(int, args.sizes.split(",")):
        timed(args.width, n, args.rounds, beside=beside)
    in_groups(args.width, args.rounds)


if __name__ == "__main__":
    main()
