"""SH of order 2 against integrals over the sphere and against the two foreign conventions, written out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcvd.errors import ShapeError
from lcvd.lighting.sh import (
    deca_from_sh,
    dpr_from_sh,
    irradiance_over_pi,
    rotate_sh,
    sh_basis,
    sh_from_deca,
    sh_from_directional,
    sh_from_dpr,
)

RNG = np.random.default_rng(3)
PI = np.pi


def sphere(rows=120):
    """Gauss-Legendre in the cosine, uniform in the angle: directions [N,3], solid angles [N]."""
    z, wz = np.polynomial.legendre.leggauss(rows)
    phi = (np.arange(2 * rows) + 0.5) / (2 * rows) * 2 * PI
    z, phi = (g.ravel() for g in np.meshgrid(z, phi, indexing="ij"))
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(phi), r * np.sin(phi), z], 1), np.repeat(wz, 2 * rows) * PI / rows


def random_rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def unit(n):
    v = RNG.normal(size=(n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_basis_is_orthonormal():
    """The nine functions integrate to the identity over the sphere."""
    d, w = sphere()
    b = sh_basis(d)
    np.testing.assert_allclose(b.T @ (b * w[:, None]), np.eye(9), atol=1e-12)


def test_basis_order_is_that_of_the_conventions():
    """Order 00, 1-1, 10, 11, 2-2 … 22 means y, z, x and xy, yz, 3z²-1, xz, x²-y² with positive signs."""
    x, y, z = unit(1)[0]
    named = np.array([1, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y])
    ratio = sh_basis(np.array([x, y, z])) / named
    assert (ratio > 0).all()
    np.testing.assert_allclose(ratio[[1, 2, 3]], ratio[1])
    np.testing.assert_allclose(ratio[[4, 5, 7]], ratio[4])


def test_irradiance_equals_the_cosine_integral():
    """Irradiance/π of a band-limited environment equals ∫ L max(0, n·d) dω / π, computed without SH theory."""
    sh = RNG.normal(size=(9, 3))
    d, w = sphere(400)
    radiance = sh_basis(d) @ sh
    normals = unit(6)
    slow = np.array([(np.maximum(d @ n, 0) * w) @ radiance / PI for n in normals])
    np.testing.assert_allclose(irradiance_over_pi(sh, normals), slow, atol=2e-3)


def test_uniform_environment_shows_its_radiance():
    """A sphere of radiance L shows L on any matte surface."""
    sh = np.zeros(9)
    sh[0] = 0.7 * np.sqrt(4 * PI)
    np.testing.assert_allclose(irradiance_over_pi(sh, unit(5)), 0.7, rtol=1e-6)


def test_directional_light_projects_to_its_delta():
    """The light's coefficients reproduce its clamped cosine as well as order 2 can: 1.0625 facing, unbiased in mean."""
    directional = sh_from_directional((0, 3, 4), (1, 0.5, 0))
    np.testing.assert_allclose(
        irradiance_over_pi(directional, np.array([0, 0.6, 0.8])), [1.0625, 0.53125, 0], rtol=1e-5
    )
    d, w = sphere()
    exact = np.maximum(d @ [0, 0.6, 0.8], 0)
    error = irradiance_over_pi(directional, d)[:, 0] - exact
    assert abs(error @ w) < 1e-3
    assert np.abs(error).max() < 0.11


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_rotation_equals_reprojection(seed):
    """Turned coefficients show at R n what the old ones showed at n, also for a mirror image."""
    r = random_rotation(seed)
    if seed % 3 == 0:
        r = r @ np.diag([-1, 1, 1])
    sh = np.random.default_rng(seed + 1).normal(size=(9, 3))
    n = unit(40)
    np.testing.assert_allclose(sh_basis(n @ r.T) @ rotate_sh(sh, r), sh_basis(n) @ sh, atol=3e-6)


def test_rotations_compose():
    """Turning twice equals turning once by the product."""
    a, b = random_rotation(1), random_rotation(2)
    sh = RNG.normal(size=(9, 3))
    np.testing.assert_allclose(rotate_sh(rotate_sh(sh, a), b), rotate_sh(sh, b @ a), atol=1e-5)


def deca_shading(code, n):
    """SRenderY.add_SHlight as DECA's source states it, factors spelled out."""
    x, y, z = n.T
    one, three, five = 1 / np.sqrt(4 * PI), np.sqrt(3 / (4 * PI)), np.sqrt(5 / (12 * PI))
    f1, f2 = 2 * PI / 3 * three, PI / 4
    terms = [one + 0 * x, f1 * x, f1 * y, f1 * z]
    terms += [f2 * 3 * five * x * y, f2 * 3 * five * x * z, f2 * 3 * five * y * z]
    terms += [f2 * 1.5 * five * (x * x - y * y), f2 * 0.5 * np.sqrt(5 / (4 * PI)) * (3 * z * z - 1)]
    return np.stack(terms, 1) @ code


def dpr_shading(code, n):
    """get_shading as DPR's source states it: our order, irradiance with π, on DPR's own normals."""
    x, y, z = n.T
    c0, c1, c2 = (
        PI * 0.5 / np.sqrt(PI),
        PI * 2 / 3 * np.sqrt(3) / 2 / np.sqrt(PI),
        PI / 4 * np.sqrt(15) / 2 / np.sqrt(PI),
    )
    c20 = PI / 4 * np.sqrt(5) / 4 / np.sqrt(PI)
    terms = [c0 + 0 * x, c1 * y, c1 * z, c1 * x, c2 * x * y, c2 * y * z, c20 * (3 * z * z - 1), c2 * x * z]
    return np.stack([*terms, c2 / 2 * (x * x - y * y)], 1) @ code


def test_deca_light_shades_as_in_deca():
    """A DECA code shows through our irradiance what DECA's own renderer computes on the same normal."""
    code = RNG.normal(size=(9, 3))
    n = unit(50)
    np.testing.assert_allclose(irradiance_over_pi(sh_from_deca(code), n), deca_shading(code, n), atol=1e-5)


def test_dpr_light_shades_as_in_dpr():
    """A DPR light shows through our irradiance what DPR computes on x right, z up, y into the picture."""
    code = RNG.normal(size=9)
    n = unit(50)
    in_dpr_axes = np.stack([n[:, 0], -n[:, 2], n[:, 1]], 1)
    np.testing.assert_allclose(irradiance_over_pi(sh_from_dpr(code), n), dpr_shading(code, in_dpr_axes), atol=1e-5)


def test_dpr_axes_put_the_viewer_at_minus_y():
    """A light from the camera becomes a DPR light from -y; one from above, from +z; one from the right, from +x."""
    for ours, index, sign in (((0, 0, 1), 1, -1), ((0, 1, 0), 2, 1), ((1, 0, 0), 3, 1)):
        band1 = dpr_from_sh(sh_from_directional(ours, (1, 1, 1)))[1:4, 0]
        assert np.argmax(np.abs(band1)) == index - 1
        assert np.sign(band1[index - 1]) == sign


@pytest.mark.parametrize(("there", "back"), [(deca_from_sh, sh_from_deca), (dpr_from_sh, sh_from_dpr)])
def test_conversions_are_inverse(there, back):
    """There and back again changes nothing, for grey and for colour."""
    for sh in (RNG.normal(size=(9, 3)), RNG.normal(size=9)):
        np.testing.assert_allclose(back(there(sh)), sh, atol=1e-5)


def test_wrong_shapes_say_what_came():
    """A wrong shape is a ShapeError that prints it."""
    with pytest.raises(ShapeError, match=r"\(4, 3\)"):
        rotate_sh(np.zeros((4, 3)), np.eye(3))
    with pytest.raises(ShapeError, match=r"\(5, 2\)"):
        sh_basis(np.zeros((5, 2)))
    with pytest.raises(ShapeError, match="orthonormal"):
        rotate_sh(np.zeros((9, 3)), 2 * np.eye(3))
    with pytest.raises(ShapeError, match="no length"):
        sh_from_directional((0, 0, 0), (1, 1, 1))
