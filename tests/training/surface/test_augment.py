"""What is changed in a batch stays true: sides together, light as another lamp would change it."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra lcvd")

from training.heads.scanned.parts import Part  # noqa: E402
from training.surface.augment import VECTORS, augmented  # noqa: E402

SIDE = 16


def drawn(count: int = 8) -> dict[str, torch.Tensor]:
    """Returns a batch of matte grey hemispheres of skin, lit from the left, as `Samples.batch` gives it."""
    y, x = torch.meshgrid(torch.linspace(0.9, -0.9, SIDE), torch.linspace(-0.9, 0.9, SIDE), indexing="ij")
    inside = (x * x + y * y < 0.8).float()[None, None].expand(count, 1, SIDE, SIDE).contiguous()
    normal = torch.stack([x, y, (1 - x * x - y * y).clamp(min=0).sqrt()])[None] * inside
    light = torch.log(1 + 0.5 * (-0.6 * normal[:, :1] + 0.8 * normal[:, 2:])).expand(count, 3, SIDE, SIDE)
    rgb = (0.2 * light.exp()) ** (1 / 2.2)
    return {
        "rgb": 2 * rgb - 1, "mesh": normal, "mask": 2 * inside - 1, "normal": normal, "smooth": normal,
        "light": light.clone(), "part": torch.full((count, 1, SIDE, SIDE), int(Part.SKIN), dtype=torch.uint8),
        "cover": inside,
    }  # fmt: skip


def test_the_light_changes_as_by_a_lamp_and_its_mean_stays() -> None:
    """The change of log light follows the normals, one lamp a sample, and the mean light on skin is the same."""
    before = drawn()
    for seed in range(4):  # mirrored or not
        after = augmented(drawn(), torch.Generator().manual_seed(seed))
        skin = before["cover"][0, 0] > 0.5
        mirrored = bool(after["light"][:, 0, 8, 2].mean() < after["light"][:, 0, 8, 13].mean())
        for k in range(len(after["light"])):
            old = before["light"][k].flip(-1) if mirrored else before["light"][k]
            change = (after["light"][k] - old)[0][skin]
            basis = torch.cat([after["normal"][k][:, skin].T, torch.ones(int(skin.sum()), 1)], 1)
            left = change - basis @ torch.linalg.lstsq(basis, change[:, None]).solution[:, 0]
            assert left.abs().max() < 1e-3
            means = [light[:, skin].mean(0).exp().mean() for light in (old, after["light"][k])]
            assert float(means[1]) == pytest.approx(float(means[0]), rel=1e-3)


def test_the_picture_changes_with_the_light() -> None:
    """Over the skin the picture follows the light that is now true, and less so the light that was."""
    before = drawn(32)
    after = augmented(drawn(32), torch.Generator().manual_seed(1))
    skin = after["cover"][0, 0] > 0.5
    mirrored = bool(after["light"][:, 0, 8, 2].mean() < after["light"][:, 0, 8, 13].mean())
    old = before["light"].flip(-1) if mirrored else before["light"]
    follows = {}
    for name, light in (("now", after["light"]), ("before", old)):
        both = [torch.stack([after["rgb"][k].mean(0)[skin], light[k].mean(0)[skin]]) for k in range(32)]
        follows[name] = float(torch.stack([torch.corrcoef(each)[0, 1] for each in both]).mean())
    assert follows["now"] > 0.9
    assert follows["now"] > follows["before"] + 0.05


def test_a_mirrored_face_has_mirrored_normals() -> None:
    """A hemisphere is its own mirror image once x has changed its sign; its light is not, so both kinds are seen."""
    seen = set()
    for seed in range(8):
        after = augmented(drawn(), torch.Generator().manual_seed(seed))
        left, right = after["light"][:, 0, 8, 2].mean(), after["light"][:, 0, 8, 13].mean()
        seen.add(bool(left < right))
        for name in VECTORS:
            dropped = (after[name][:, 2] == 1).all(2).all(1)
            assert name == "mesh" or not dropped.any()
            assert torch.allclose(after[name][~dropped], drawn()[name][~dropped], atol=1e-6)
    assert seen == {True, False}
