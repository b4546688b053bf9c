"""Grad-CAM against autograd by hand and captum, on timm's families, and of genes by name."""

import numpy as np
import pytest
import torch
from torch import nn

import smalti as sm
from smalti.datasets import planted_slides
from smalti.errors import InputError
from smalti.explain import cam_faithfulness, gene_cam, gene_cam_faithfulness, grad_cam
from smalti.expression import FineTune, Ridge
from smalti.system import extras


def small_net(outputs: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, outputs),
    )  # fmt: skip


@pytest.fixture
def images():
    return torch.randn(5, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def by_hand(net, images, output):
    """One image at a time, with the layer's output taken apart from the network."""
    out = []
    for image in images:
        maps = net[2](net[1](net[0](image[None]))).detach().requires_grad_()
        rest = torch.relu(maps)
        score = net[7](net[6](net[5](rest)))[0, output]
        score.backward()
        total = sum(maps.grad[0, c].mean() * maps[0, c] for c in range(maps.shape[1]))
        out.append(total.detach())
    return torch.stack(out)


@pytest.mark.parametrize("layer", [None, "2"])
def test_the_sum_is_that_of_autograd_by_hand(images, layer):
    net = small_net().eval()
    found = grad_cam(net, images, [2, 0], layer=layer, raw=True, upsample=False, batch_size=2)
    assert found.shape == (5, 2, 4, 6)
    for j, output in enumerate([2, 0]):
        np.testing.assert_allclose(found[:, j], by_hand(net, images, output), atol=1e-6)


def test_maps_are_cut_off_upsampled_and_scaled(images):
    net = small_net().eval()
    raw = torch.stack([by_hand(net, images, k) for k in range(3)], 1)
    wanted = nn.functional.interpolate(raw.relu(), (16, 24), mode="bilinear")
    top = wanted.amax((2, 3), keepdim=True)
    wanted = wanted / torch.where(top > 0, top, 1.0)
    found = grad_cam(net, images, range(3))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.dtype == np.float32
    assert found.min() == 0
    assert found.max() == pytest.approx(1)


def test_it_is_that_of_captum(images):
    extras.absent("captum") and pytest.skip("captum is not installed")
    LayerGradCam = extras.need("captum.attr", "vision").LayerGradCam
    net = small_net().eval()
    net[3] = nn.ReLU()  # captum's own hooks do not suffer what works in place
    for output in range(3):
        wanted = LayerGradCam(net, net[2]).attribute(images, target=output).detach()
        found = grad_cam(net, images, [output], layer=net[2], raw=True, upsample=False)
        np.testing.assert_allclose(found, wanted, atol=1e-6)


class Quadrant(nn.Module):
    """Looks for red in the upper left quadrant only; output 1 in the lower right one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.conv.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, :, None, None]

    def forward(self, x):
        x = self.conv(x)
        h, w = x.shape[2] // 2, x.shape[3] // 2
        return torch.stack([x[:, 0, :h, :w].square().mean((1, 2)),
                            x[:, 0, h:, w:].square().mean((1, 2))], 1)  # fmt: skip


@pytest.fixture
def red():
    """Red in two opposite quadrants of a dark picture, brighter in one of them."""
    pictures = torch.full((6, 3, 32, 32), 0.01)
    pictures[:3, 0, 4:12, 4:12] = 1.0
    pictures[3:, 0, 20:28, 20:28] = 1.0
    return pictures


def test_the_map_lies_where_the_evidence_is(red):
    maps = grad_cam(Quadrant(), red, [0, 1])
    inside = maps[:3, 0, 4:12, 4:12].sum((1, 2)) / maps[:3, 0].sum((1, 2))
    assert (inside > 0.7).all()
    inside = maps[3:, 1, 20:28, 20:28].sum((1, 2)) / maps[3:, 1].sum((1, 2))
    assert (inside > 0.7).all()


def test_faithfulness_tells_a_map_from_a_random_one(red):
    net, seen = Quadrant(), red[:3]
    good = cam_faithfulness(net, seen, [0], top=0.06)
    assert good["wins"].tolist() == [1.0]
    assert good["top"][0] > 3 * good["random"][0]
    elsewhere = np.zeros((3, 1, 32, 32), dtype=np.float32)
    elsewhere[..., 20:28, 20:28] = 1
    bad = cam_faithfulness(net, seen, [0], cams=elsewhere, top=0.06)
    assert bad["wins"].tolist() == [0.0]
    assert abs(bad["top"][0]) < 0.1 * good["top"][0]


def test_faithfulness_of_a_random_map_is_that_of_chance():
    rng = np.random.default_rng(0)
    pictures = torch.rand(80, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    spots = rng.integers(16, size=(80, 2))
    random = np.zeros((80, 1, 16, 16), dtype=np.float32)
    for cam, (y, x) in zip(random[:, 0], spots, strict=True):
        cam[np.ix_((y + np.arange(6)) % 16, (x + np.arange(6)) % 16)] = 1
    table = cam_faithfulness(Quadrant(), pictures, [0], cams=random, top=36 / 256, n_random=20)
    assert 0.25 < table["wins"][0] < 0.75
    assert abs(table["top"][0] - table["random"][0]) < 0.5 * abs(table["random"][0]) + 1e-3


def test_faithfulness_of_the_pixels_painted_by_hand(red):
    net, seen = Quadrant(), red[:2]
    cams = np.random.default_rng(0).random((2, 1, 32, 32)).astype(np.float32)
    table = cam_faithfulness(net, seen, [0], cams=cams, top=0.1)
    assert table["n"][0] == 2
    falls = []
    for image, cam in zip(seen, cams[:, 0], strict=True):
        cut = np.sort(cam.ravel())[-round(0.1 * 1024)]
        other = image.clone()
        other[:, torch.from_numpy(cam >= cut)] = image.mean((1, 2))[:, None]
        falls.append((net(image[None]) - net(other[None]))[0, 0].item())
    assert table["top"][0] == pytest.approx(np.mean(falls), rel=1e-4)


def test_flat_maps_say_nothing(red):
    cams = np.zeros((2, 2, 32, 32), dtype=np.float32)
    cams[0, 0, 4:12, 4:12] = 1
    table = cam_faithfulness(Quadrant(), red[:2], [0, 1], cams=cams, top=0.06)
    assert table["n"].tolist() == [1, 0]
    assert table["wins"][0] == 1
    assert table[["top", "random", "wins"]].iloc[1].isna().all()


def test_the_network_is_left_as_it_was(images):
    net = small_net().train()
    net[0].eval()
    net[7].bias.requires_grad_(False)
    net[2].weight.grad = torch.ones_like(net[2].weight)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    flags = [(m.training, len(m._forward_hooks)) for m in net.modules()]
    moving = [p.requires_grad for p in net.parameters()]
    with torch.no_grad():
        first = grad_cam(net, images, [0])
        cam_faithfulness(net, images, [0])
        assert not torch.is_grad_enabled()
    with pytest.raises(InputError):
        grad_cam(net, images, [9])
    assert [(m.training, len(m._forward_hooks)) for m in net.modules()] == flags
    assert [p.requires_grad for p in net.parameters()] == moving
    assert net[2].weight.grad.eq(1).all()
    assert net[0].weight.grad is None
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    np.testing.assert_array_equal(first, grad_cam(net, images, [0]))  # no dropout: the same again


FAMILIES = {
    "resnet10t": 2, "convnext_atto": 2, "vit_tiny_patch16_224": 4, "xcit_nano_12_p16_224": 4,
    "coatnet_nano_rw_224": 2, "swin_tiny_patch4_window7_224": 2, "densenet121": 2,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_timm(name):
    extras.absent("timm", "vision") and pytest.skip("timm is not installed")
    torch.manual_seed(0)
    small = {"densenet121": {"block_config": (1, 1, 1, 1), "growth_rate": 8},
             "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (1, 1, 1, 1)},
             "xcit_nano_12_p16_224": {"depth": 2},
             "vit_tiny_patch16_224": {"depth": 2}}  # fmt: skip
    net = extras.need("timm", "vision").create_model(
        name, pretrained=False, num_classes=4, **small.get(name, {})
    )
    for p in net.parameters():  # biases, scales and heads that start at nothing tell nothing
        if p.ndim < 2 or p.abs().max() == 0:
            nn.init.normal_(p, 0.5, 0.5)
    images = torch.randn(2, 3, 224, 224)
    images[1] *= 2
    coarse = grad_cam(net, images, [0, 3], raw=True, upsample=False)
    assert coarse.shape == (2, 2, *{2: (7, 7), 4: (14, 14)}[FAMILIES[name]])
    assert np.isfinite(coarse).all()
    assert (coarse.std((2, 3)) > 0).all()
    assert np.abs(coarse[:, 0] - coarse[:, 1]).max() > 0
    fine = grad_cam(net, images[:1], [0])
    assert fine.shape == (1, 1, 224, 224)
    assert 0 <= fine.min() <= fine.max() <= 1


def test_tokens_lie_in_rows():
    """A transformer whose patches do not mix: the map is that patch's."""
    extras.absent("timm", "vision") and pytest.skip("timm is not installed")
    net = extras.need("timm", "vision").create_model(
        "vit_tiny_patch16_224", pretrained=False, num_classes=2, depth=2, global_pool="avg",
        class_token=False, img_size=(32, 64),
    ).eval()  # fmt: skip
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        changed = images.clone()
        changed[..., 16:32, 32:48] += 3  # patch in row 1, column 2
        tokens = [net.patch_embed(x) for x in (images, changed)]
    which = (tokens[0] != tokens[1]).any(2)[0].nonzero().tolist()
    assert which == [[1 * 4 + 2]]
    seen = []
    net.blocks[-1].norm1.register_forward_hook(lambda m, a, out: seen.append(out.detach()))
    found = grad_cam(net, images, [0], raw=True, upsample=False)
    assert found.shape == (1, 1, 2, 4)
    weight = torch.linalg.lstsq(seen[0][0], torch.from_numpy(found.reshape(8, 1))).solution
    again = (seen[0][0] @ weight).reshape(2, 4)
    np.testing.assert_allclose(found[0, 0], again, atol=1e-4)


def test_errors(images):
    net = small_net()
    with pytest.raises(InputError, match="outputs 9..9 do not exist"):
        grad_cam(net, images, [9])
    with pytest.raises(InputError, match="no layer 'nowhere'; there are"):
        grad_cam(net, images, [0], layer="nowhere")
    with pytest.raises(InputError, match="not a part of the network"):
        grad_cam(net, images, [0], layer=nn.Conv2d(3, 3, 1))
    with pytest.raises(InputError, match="Linear returns no maps"):
        grad_cam(net, images, [0], layer="7")
    with pytest.raises(InputError, match="and 0 outputs"):
        grad_cam(net, images, [])
    with pytest.raises(InputError, match=r"images of shape \(3, 16, 24\)"):
        grad_cam(net, images[0], [0])
    with pytest.raises(InputError, match="has no convolution"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(1152, 2)), images, [0])
    with pytest.raises(InputError, match="top must lie"):
        cam_faithfulness(net, images, [0], top=1.0)
    with pytest.raises(InputError, match=r"maps of shape \(5, 2, 16, 24\) do not fit 1 outputs"):
        cam_faithfulness(net, images, [0], cams=np.zeros((5, 2, 16, 24)))


# -------------------------------------------------------------------- genes by name


@pytest.fixture(scope="module")
def slides():
    return planted_slides(4, 36, images=True, size=32, n_genes=8, donors=4)


@pytest.fixture(scope="module")
def model(slides):
    return FineTune.example().set_params(epochs=12, lr=2e-3, progress=False).fit(slides)


@pytest.mark.slow
def test_maps_of_genes_are_those_of_their_outputs(model, slides):
    genes = ["CCC1", "AAA1"]
    rows = [3, 40, 41]
    maps = gene_cam(model, slides, genes, tiles=rows, raw=True)
    assert maps.shape == (3, 2, 32, 32)
    net = model.network_

    class Pixels(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net.head(self.net.features(x))[0]

    pixels = torch.from_numpy(slides.x["tile"][rows]).float()
    outputs = [model.genes_.index(g) for g in genes]
    wanted = grad_cam(Pixels(), pixels, outputs, layer="net.backbone.stages.2", raw=True)
    np.testing.assert_allclose(maps, wanted, atol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(Pixels()(pixels), model.predict(slides)[rows], atol=1e-4)


def test_tiles_by_name_and_layers_by_name(model, slides):
    names = slides.instance.index[[5, 2]]
    maps = gene_cam(model, slides, "AAA1", tiles=names, raw=True)
    np.testing.assert_array_equal(maps, gene_cam(model, slides, ["AAA1"], tiles=[5, 2], raw=True))
    assert maps.shape == (2, 1, 32, 32)
    module = model.network_.backbone.stages[2]
    last, other, same = (
        gene_cam(model, slides, "AAA1", tiles=names, raw=True, layer=x)
        for x in ("backbone.stages.3", "backbone.stages.2", module)
    )
    np.testing.assert_array_equal(other, same)
    assert not np.allclose(other, last, atol=1e-4)
    assert gene_cam(model, slides[[0]], "AAA1").shape == (36, 1, 32, 32)


def test_faithfulness_of_genes(model, slides):
    genes = ["AAA1", "DDD1"]
    table = gene_cam_faithfulness(model, slides, genes, tiles=range(12), n_random=3)
    assert table.columns.tolist() == ["gene", "top", "random", "wins", "n"]
    assert table["gene"].tolist() == genes
    maps = gene_cam(model, slides, genes, tiles=range(12))
    assert table["n"].tolist() == (maps.max((2, 3)) > 0).sum(0).tolist()
    again = gene_cam_faithfulness(model, slides, genes, tiles=range(12), n_random=3, cams=maps)
    assert table.equals(again)


def test_errors_of_genes(model, slides):
    with pytest.raises(InputError, match="genes names 'ACTB', 'EPCAM', not predicted by this fine"):
        gene_cam(model, slides, ["AAA1", "ACTB", "EPCAM"])
    with pytest.raises(InputError, match="no gene"):
        gene_cam(model, slides, [])
    with pytest.raises(InputError, match="ridge reads no tiles"):
        gene_cam(Ridge().fit(slides), slides, ["AAA1"])
    with pytest.raises(InputError, match="^int reads no tiles"):  # no method of ours has no name
        gene_cam(3, slides, ["AAA1"])
    with pytest.raises(InputError, match="tiles names 'S9_1'"):
        gene_cam(model, slides, ["AAA1"], tiles=["S0_1", "S9_1"])
    with pytest.raises(InputError, match="tiles names 144"):
        gene_cam(model, slides, ["AAA1"], tiles=[144])
    with pytest.raises(InputError, match="no layer 'backbone.stage'"):
        gene_cam(model, slides, ["AAA1"], layer="backbone.stage")


def test_names_are_functions_whatever_is_imported_first():
    import smalti.explain.grad_cams  # noqa: F401 - it must not take the function's place

    assert callable(sm.explain.grad_cam)
    assert callable(sm.explain.gene_cam)
