"""engine.diffusion.staggered against windows and closed forms on toy denoisers: levels, calls, order, delay, seams."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.latency import predicted  # noqa: E402
from engine.diffusion.sampler import SamplerPlan, denoise_window  # noqa: E402
from engine.diffusion.staggered import CHUNK_FRAMES, MAX_LEVELS, StaggeredDenoising, StaggeredShape, StaggeredWindow  # noqa: E402
from engine.diffusion.window import WINDOW, WindowShape  # noqa: E402
from engine.frames import Frame  # noqa: E402
from lcvd.networks.schedule import (  # noqa: E402
    SIGMA_MIN,
    few_step_sigmas,
    v_from_x0,
    x0_from_v,
)
from lcvd.types import Lighting  # noqa: E402

SIZE = (4, 2, 3)
CHUNKS = 6
ALONE = SamplerPlan(guidance="none", join="pin")


def draw() -> "torch.Tensor":
    return torch.randn(WINDOW, *SIZE, generator=torch.Generator().manual_seed(0))


def level_of(sigma) -> "torch.Tensor":
    return torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1, 1, 1)


def apart(places, spread=0.8):
    """Optimal denoiser of frames that know nothing of each other: N(mean of its place, spread²), two branches."""
    means = [torch.from_numpy(np.random.default_rng([place, 1]).normal(size=(2, *SIZE))) for place in places]
    mean = torch.stack(means, 1)

    def predict(x, sigma):
        s, x = level_of(sigma), x.double()
        v1, v2 = (v_from_x0(x, (spread**2 * x + s**2 * m) / (spread**2 + s**2), s).float() for m in mean)
        return v1, v2

    return predict


def staggered_clip(shape, plan, predict_of, chunks=CHUNKS, on_ask=lambda call, places, x, sigma: None):
    """Latents [frames,4,h,w] float64 of `chunks` chunks, as the engine drives the steps."""
    noise, kept, out = draw(), None, []
    call = 0
    for number in range(chunks - shape.levels + 1):
        places = shape.clip_frames(number)
        denoising, x = StaggeredDenoising(noise[[place % WINDOW for place in places]], plan, shape, kept), None
        while x is None:
            asked = denoising.input()
            on_ask(call, places, *asked)
            call += 1
            v1, v2 = predict_of(places)(*asked)
            x = denoising.advance(v1 if plan.branches == 2 else None, v2)
        out.append(x[shape.ready].double())
        kept = x[shape.kept]
    return torch.cat(out).numpy()


def windowed_clip(shape, plan, predict_of, windows):
    """The same of windows."""
    noise, known, out = draw(), None, []
    for number in range(windows):
        places = shape.clip_frames(number)
        predict = predict_of(places)
        one = predict if plan.branches == 2 else lambda x, s, p=predict: (None, p(x, s)[1])
        x = denoise_window(one, noise[[place % WINDOW for place in places]], plan, known)
        out.append(x[shape.ready].double())
        known = x[shape.kept]
    return torch.cat(out).numpy()


def test_rows_of_the_window() -> None:
    """16 = anchor + context + chunks; three chunks of 4 are the most; what cannot be is refused."""
    for levels, context in ((1, 11), (2, 7), (3, 3)):
        shape = StaggeredShape(levels)
        assert shape.context == context
        assert sum(shape.blocks) == WINDOW
        assert (shape.ready.start, shape.ready.stop) == (1 + context, 5 + context)
        assert shape.kept == [0, *range(5, 16)]
    assert MAX_LEVELS == 3
    assert [StaggeredShape.of_steps(steps).levels for steps in (1, 2, 4, 8, 25)] == [1, 2, 3, 3, 3]
    assert StaggeredShape(7, 2).context == 1
    for wrong in ((4, 4), (0, 4), (1, 0)):
        with pytest.raises(ValueError, match=f"levels={wrong[0]}, chunk={wrong[1]}"):
            StaggeredShape(*wrong)


@pytest.mark.parametrize("omega", [1.0, 3.5])
@pytest.mark.parametrize("sampler", ["euler", "ddim"])
@pytest.mark.parametrize("levels", [1, 2])
def test_frames_apart_come_out_as_from_windows(levels: int, sampler: str, omega: float) -> None:
    """Where no frame tells another anything, when it takes its steps is no matter: windows of as many steps agree."""
    plan = SamplerPlan(levels, sampler, "guided", omega, "pin")
    staggered = staggered_clip(StaggeredShape(levels), plan, apart)
    windowed = windowed_clip(WindowShape(CHUNK_FRAMES * levels), plan, apart, CHUNKS // levels)
    np.testing.assert_allclose(staggered, windowed[: len(staggered)], atol=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_frames_apart_have_their_closed_form(levels: int) -> None:
    """x - m shrinks by (s² + σσ')/(s² + σ²) a level around the guided mean, for every frame of the clip."""
    spread, shape = 0.8, StaggeredShape(levels)
    got = staggered_clip(shape, SamplerPlan(omega=3.0), apart)
    sigmas, noise = few_step_sigmas("euler", levels), draw().double().numpy()
    for i, latents in enumerate(got):
        place = 1 + shape.context + i
        mean = np.random.default_rng([place, 1]).normal(size=(2, *SIZE))
        m = mean[0] + 3.0 * (mean[1] - mean[0])
        x = noise[place % WINDOW] * np.sqrt(sigmas[0] ** 2 + 1)
        for sigma, below in itertools.pairwise(sigmas):
            x = m + (x - m) * (spread**2 + sigma * below) / (spread**2 + sigma**2)
        np.testing.assert_allclose(latents, x, atol=1e-3)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_chunk_takes_the_plans_levels_and_a_call_serves_them_all(levels: int) -> None:
    """A frame is told σ_0 … σ_{K-1} in turn, then that it is clean; as many calls as chunks; σ rises along the rows."""
    shape, plan = StaggeredShape(levels), ALONE
    told: dict[int, list[float]] = {}
    rows = []

    def note(call, places, x, sigma):
        assert x.shape[0] == sigma.shape[0] == WINDOW
        rows.append(sigma)
        for place, each in zip(places, sigma, strict=True):
            told.setdefault(place, []).append(float(each))

    staggered_clip(shape, plan, apart, on_ask=note)
    assert len(rows) == CHUNKS
    sigmas = shape.sigmas(plan).tolist()
    for place in range(1 + shape.context, 1 + shape.context + (CHUNKS - levels + 1) * CHUNK_FRAMES):
        path = [sigma for sigma, _ in itertools.groupby(told[place])]  # while the first chunks start, others wait
        assert path[:levels] == sigmas[:-1]
        assert set(path[levels:]) <= {SIGMA_MIN}
    steady = [SIGMA_MIN] * (1 + shape.context) + [s for s in sigmas[-2::-1] for _ in range(CHUNK_FRAMES)]
    for sigma in rows[levels:]:
        assert sigma.tolist() == steady
        assert (np.diff(sigma) >= 0).all()


def test_known_rows_stay_as_they_were() -> None:
    """Whatever the network says of anchor and context, they come back; it sees them with the smallest trained noise."""
    shape, noise = StaggeredShape(2), draw()
    kept = torch.randn(WINDOW - CHUNK_FRAMES, *SIZE, generator=torch.Generator().manual_seed(1))
    denoising = StaggeredDenoising(noise, ALONE, shape, kept)
    x, sigma = denoising.input()
    torch.testing.assert_close(x[:8] - kept[:8], SIGMA_MIN * noise[:8], atol=1e-6, rtol=0)
    assert torch.equal(x[8:12], kept[8:])
    torch.testing.assert_close(x[12:], noise[12:] * (sigma[12] ** 2 + 1) ** 0.5)
    rows = denoising.advance(None, torch.full_like(x, 7.0))  # one call, and it is the last
    assert torch.equal(rows[:8], kept[:8])
    assert (rows[8:12] != kept[8:]).all()


def related(correlation: float, blind: bool):
    """Optimal denoiser of Gaussian clips of covariance ρ^|i-j|; `blind`: it believes all rows at their highest σ."""
    rows = np.arange(WINDOW)
    covariance = correlation ** np.abs(rows[:, None] - rows)
    covariance[0, 1:] = covariance[1:, 0] = 0  # the anchor is another picture

    def predict(x, sigma):
        s = np.broadcast_to(sigma, WINDOW).astype(float)
        assumed = np.full(WINDOW, s.max()) if blind else s
        gain = covariance @ np.linalg.inv(covariance + np.diag(assumed**2))
        x0 = torch.einsum("ij,jchw->ichw", torch.from_numpy(gain), x.double())
        return None, v_from_x0(x.double(), x0, level_of(s)).float()

    return predict


def seam(clip: np.ndarray) -> float:
    """Change from frame to frame where chunks join over that elsewhere."""
    change = np.square(clip[1:] - clip[:-1]).mean((1, 2, 3))
    joins = np.arange(CHUNK_FRAMES - 1, len(change), CHUNK_FRAMES)
    return float(np.sqrt(change[joins].mean() / np.delete(change, joins).mean()))


@pytest.mark.parametrize("correlation", [0.8, 0.97])
@pytest.mark.parametrize("levels", [2, 3])
def test_chunks_join_as_windows_do_for_a_model_that_knows_its_levels(correlation: float, levels: int) -> None:
    """On constant input, staggering adds nothing to the seam of windows of as many steps whose known rows are told to
    be clean; a model that takes one σ for all rows cannot do it."""
    knows, blind = (
        seam(staggered_clip(StaggeredShape(levels), ALONE, lambda _, b=b: related(correlation, b), 120))
        for b in (False, True)
    )
    shape, noise, known, fresh = WindowShape(CHUNK_FRAMES), draw(), None, []
    inner = related(correlation, False)
    for number in range(120):
        rows = noise[[place % WINDOW for place in shape.clip_frames(number)]]
        sigmas = few_step_sigmas("euler", levels)
        x = rows * (sigmas[0] ** 2 + 1) ** 0.5
        for sigma, below in itertools.pairwise(sigmas):
            told = np.full(WINDOW, sigma)
            if known is not None:
                x, told[: shape.overlap] = torch.cat([known, x[shape.overlap :]]), SIGMA_MIN
            x0 = x0_from_v(x, inner(x, told)[1], level_of(told)).float()
            x = x0 + (x - x0) * (below / sigma)
        known = x[shape.kept] if known is None else torch.cat([known, x[shape.overlap :]])[shape.kept]
        fresh.append(x[shape.ready].double())
    windows = seam(torch.cat(fresh).numpy())
    print(f"rho {correlation} levels {levels}: staggered {knows:.2f} windows {windows:.2f} blind {blind:.2f}")
    assert knows <= windows + 0.05
    assert blind > knows + 0.5


def frame(i: int, fps: float = 25.0) -> Frame:
    return Frame(i, i / fps, np.zeros((2, 2, 3), np.uint8), 5.0 + i)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_work_has_the_frames_that_leave_and_the_hints_that_enter(levels: int) -> None:
    """Each frame leaves once, in order, with its own face and light; each hint enters once, newest last."""
    window = StaggeredWindow(StaggeredShape(levels))
    left, entered, most = [], [], 0
    for i in range(CHUNKS * CHUNK_FRAMES + 3):
        work = window.add(frame(i), None, Lighting(str(i)), np.full((2, 2, 3), i, np.uint8))
        if work is not None:
            assert work.payload.number == len(left) // CHUNK_FRAMES
            assert [light.name for light in work.lightings] == [str(f.index) for f in work.frames]
            assert len(work.faces) == CHUNK_FRAMES
            left += [f.index for f in work.frames]
            entered += work.payload.hints[:, 0, 0, 0].tolist()
            assert entered == list(range(i + 1))
        most = max(most, len(window))
        assert len(left) + len(window) == i + 1
    assert left == list(range((CHUNKS - levels + 1) * CHUNK_FRAMES))
    assert most == levels * CHUNK_FRAMES - 1


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_predicted_delay_is_what_a_simulation_gives(levels: int) -> None:
    """(K·4 - 1)/fps and one call: the longest wait of any frame, started up, on a device that is free in time."""
    fps, call_s = 25.0, 0.06
    window, longest = StaggeredWindow(StaggeredShape(levels)), 0.0
    for i in range(200):
        work = window.add(frame(i, fps), None, Lighting("a"), np.zeros((2, 2, 3), np.uint8))
        if work is not None:
            longest = max(longest, frame(i, fps).t_s + call_s - work.frames[0].t_s)
    got = predicted(fps, CHUNK_FRAMES, call_s, flying=levels)
    assert got.delay_s == pytest.approx(longest)
    assert got.delay_s == pytest.approx((4 * levels - 1) / fps + call_s)
    assert (got.fps, got.keeps_up) == (fps, True)
    slow = predicted(fps, CHUNK_FRAMES, 0.2, flying=levels)
    assert (slow.fps, slow.keeps_up) == (20.0, False)
    with pytest.raises(ValueError, match="flying=0"):
        predicted(fps, CHUNK_FRAMES, call_s, flying=0)
