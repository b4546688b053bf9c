"""Features of tiles by a pretrained network; the weights are random, which changes no time."""

WORK = "features of 32 tiles of 224 px, ResNet-50"
PEER, NEEDS, ROUNDS = "the plain loop", "timm", 3
BATCH = 8


def data(share):
    import numpy as np

    n = max(2, int(32 * share))
    return (np.random.default_rng(0).integers(0, 255, (n, 3, 224, 224), dtype=np.uint8),)


def smalti(tiles):
    import numpy as np

    import smalti as sm
    from smalti.features.encoders import Backbone

    bags = sm.Bags.from_rows({"tile": tiles}, np.zeros(len(tiles), dtype=int))
    encoder = Backbone("resnet50", "random", "32", "cpu", 0)

    def run():
        sm.features.extract(bags, encoder, batch_size=BATCH, progress=False)

    return run


def peer(tiles):
    import torch
    from PIL import Image

    from peers import mend_torchvision

    mend_torchvision()
    import timm

    model = timm.create_model("resnet50", num_classes=0).eval()
    config = timm.data.resolve_model_data_config(model) | {"crop_pct": 1.0}
    transform = timm.data.create_transform(**config, is_training=False)

    def run():
        with torch.inference_mode():
            for start in range(0, len(tiles), BATCH):
                images = map(Image.fromarray, tiles[start : start + BATCH].transpose(0, 2, 3, 1))
                model(torch.stack([transform(i) for i in images]))

    return run
