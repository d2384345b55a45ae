"""Names of published networks."""

import pytest

from nlcore.checkpoints import PUBLISHED, published

I3D = "i3d_imagenet-pretrained-r50-nl-gaussian_8xb8-32x2x1-100e_kinetics400-rgb"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_name_is_found(name):
    assert published(name) is PUBLISHED[name]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("I3D_NLN_8x8_R50.pkl", "I3D_NLN_8x8_R50"),
        ("C2D_NLN_8x8_R50_IN1K", "C2D_NLN_8x8_R50"),
        ("i3d_nonlocal_32x4_I3D_pretrain_400k.pkl", "i3d_nonlocal_32x4"),
        (f"{I3D}_20220812-0c5cbf5a.pth", I3D),
    ],
)
def test_files(file, name):
    assert published(file) is PUBLISHED[name]


@pytest.mark.parametrize("name", ["SLOWFAST_8x8_R50.pkl", "slowfast_r101"])
def test_two_pathways(name):
    with pytest.raises(ValueError, match=f"'{name}' has two pathways: expected a network with one"):
        published(name)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"such as \['I3D_NLN_8x8_R50', .*received 'I3D_NLN_16x8'"):
        published("I3D_NLN_16x8")
