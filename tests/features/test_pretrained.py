"""Models of timm: weights that fit a model as a whole, or are refused."""

import pytest
import torch
from safetensors.torch import save_file

from smalti.errors import InputError
from smalti.features.pretrained import backbone, load_weights, timm


def stored(folder, name, **settings):
    """A file of random weights of a small model of timm."""
    torch.manual_seed(1)
    file = folder / f"{name}.safetensors"
    tensors = timm().create_model(name, **settings).state_dict()
    save_file({k: v.clone() for k, v in tensors.items()}, file)
    return file, tensors


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_convnext"])
def test_weights_of_a_model_are_those_of_its_file(name, tmp_path):
    file, tensors = stored(tmp_path, name)  # with the classifier, which nothing takes
    model = backbone(name, weights=str(file))[0]
    for k, v in model.state_dict().items():
        torch.testing.assert_close(v, tensors[k], rtol=0, atol=0)


def test_half_a_file_of_a_deeper_sibling_is_refused(tmp_path):
    """Its first layers fit, which timm takes for the whole."""
    file, _ = stored(tmp_path, "test_vit", depth=8)
    with pytest.raises(InputError, match=r"that no layer takes \(first: blocks\.6\.\S+\). Name"):
        backbone("test_vit", weights=str(file))
    model = backbone("test_vit")[0]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match="does not fit test_vit"):
        load_weights(model, "test_vit", str(file))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("gone", ["blocks.5.mlp.fc1.weight", "norm.bias"])
def test_a_file_that_lacks_a_layer_is_refused(gone, tmp_path):
    file, tensors = stored(tmp_path, "test_vit")
    save_file({k: v.clone() for k, v in tensors.items() if k != gone}, file)
    with pytest.raises(InputError, match=f"lacks 1 tensors of the model .first: {gone}"):
        backbone("test_vit", weights=str(file))


def test_statistics_of_a_normalisation_must_be_there(tmp_path):
    file, tensors = stored(tmp_path, "test_efficientnet")
    save_file({k: v.clone() for k, v in tensors.items() if k != "bn1.running_var"}, file)
    with pytest.raises(InputError, match=r"bn1\.running_var"):
        backbone("test_efficientnet", weights=str(file))


def test_modules_fill_as_before_after_a_model_was_made(tmp_path):
    plain = torch.nn.Module.load_state_dict
    with pytest.raises(InputError, match="no model"):
        backbone("test_vittt")
    backbone("test_vit", weights=str(stored(tmp_path, "test_vit")[0]))
    assert torch.nn.Module.load_state_dict is plain
