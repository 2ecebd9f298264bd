"""The lists of CelebV-HQ, VFHQ and HDTF become sources with their times and boxes; plain folders too."""

import json
from pathlib import Path

import pytest

from training.errors import DataError
from training.prepare.footage import Source
from training.prepare.layouts import detect, find_sources


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def by_name(found: list[Source]) -> dict[str, Source]:
    return {source.name: source for source in found}


def celebv(folder: Path) -> None:
    clip = {
        "ytb_id": "M2Ohb0FAaJU",
        "duration": {"start_sec": 81.62, "end_sec": 86.17},
        "bbox": {"top": 0.0, "bottom": 0.8815, "left": 0.1964, "right": 0.6922},
        "attributes": {},
    }
    other = {**clip, "ytb_id": "_0tf2n3rlJU"}
    clips = {"M2Ohb0FAaJU_1": clip, "M2Ohb0FAaJU_2": clip, "_0tf2n3rlJU_0": other}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "celebvhq_info.json").write_text(json.dumps({"meta_info": {}, "clips": clips}))


def test_celebv_hq_cut_clips_are_taken_whole_and_raw_ones_by_time_and_box(tmp_path: Path) -> None:
    """A clip that was cut already is not cut again; a raw video gives its seconds and the box widened by 2 %."""
    celebv(tmp_path)
    touch(tmp_path / "35666" / "M2Ohb0FAaJU_1.mp4", tmp_path / "raw" / "M2Ohb0FAaJU.mp4")
    assert detect(tmp_path) == "celebv-hq"
    found = find_sources([tmp_path])
    sources = by_name(found.sources)
    assert list(sources) == ["M2Ohb0FAaJU_1", "M2Ohb0FAaJU_2"]
    assert (sources["M2Ohb0FAaJU_1"].box, sources["M2Ohb0FAaJU_1"].end_s) == (None, None)
    raw = sources["M2Ohb0FAaJU_2"]
    assert (raw.start_s, raw.end_s, raw.path.name) == (81.62, 86.17, "M2Ohb0FAaJU.mp4")
    assert raw.box is not None
    assert raw.box.inside(1000, 1000) == (176, 0, 712, 902)
    assert found.missing == ["_0tf2n3rlJU_0"]


def test_vfhq_folders_of_pictures_and_raw_videos_with_notes(tmp_path: Path) -> None:
    """Picture folders carry the note's rate; a raw video is cut by frames over rate, and by CROP."""
    note = "FPS 29.97\nH 720\nW 1280\nCROP 548 52 1096 600\nLANDMARKS a b\n"
    for name in ("Clip+aaa+P0+C0+F10-90", "Clip+b+b+P1+C2+F300-400", "Clip+gone+P0+C0+F1-2"):
        (tmp_path / f"{name}.txt").write_text(note)
    touch(tmp_path / "Clip+aaa+P0+C0+F10-90" / "00000000.png", tmp_path / "videos" / "b+b.mp4")
    touch(tmp_path / "Clip+ccc+P0+C1+F5-95" / "00000000.png", tmp_path / "Clip+ddd+P0+C1+F5-95.mp4")
    found = find_sources([tmp_path])
    sources = by_name(found.sources)
    assert {source.layout for source in found.sources} == {"vfhq"}
    assert sources["Clip+aaa+P0+C0+F10-90"].fps == 29.97
    assert sources["Clip+ccc+P0+C1+F5-95"].fps == 25.0
    assert sources["Clip+ddd+P0+C1+F5-95"].path.suffix == ".mp4"
    raw = sources["Clip+b+b+P1+C2+F300-400"]
    assert raw.start_s == pytest.approx(301 / 29.97)
    assert raw.end_s == pytest.approx(399 / 29.97)
    assert raw.box is not None
    assert raw.box.inside(640, 360) == (274, 26, 548, 300)
    assert found.missing == ["Clip+gone+P0+C0+F1-2"]


def test_hdtf_lists_give_times_and_boxes_at_the_lists_own_resolution(tmp_path: Path) -> None:
    """`name x w y h` is in pixels of the listed height; cut clips that are square were cropped already."""
    (tmp_path / "HDTF_dataset").mkdir()
    lists = {
        "annotion_time": "Radio11.mp4 00:30-01:00 01:30-1:02:30\nRadio9.mp4 00:05-00:10\nGone.mp4 00:01-00:02\n",
        "crop_wh": "Radio11_0.mp4 412 599 0 599\nRadio11_1.mp4 557 478 0 478\n",
        "resolution": "Radio11.mp4 720\n",
    }
    for name, text in lists.items():
        (tmp_path / "HDTF_dataset" / f"RD_{name}.txt").write_text(text)
    touch(tmp_path / "Radio11.mp4", tmp_path / "split" / "Radio11_0.mp4", tmp_path / "Radio9.mp4")
    found = find_sources([tmp_path])
    sources = by_name(found.sources)
    assert list(sources) == ["Radio11_0", "Radio11_1", "Radio9_0"]
    cut = sources["Radio11_0"]
    assert (cut.path.name, cut.end_s) == ("Radio11_0.mp4", None)
    assert cut.box is not None
    assert cut.box.inside(512, 512) == (0, 0, 512, 512)
    assert cut.box.inside(1280, 720) == (412, 0, 1011, 599)
    raw = sources["Radio11_1"]
    assert (raw.path.name, raw.start_s, raw.end_s) == ("Radio11.mp4", 90, 3750)
    assert raw.box is not None
    assert raw.box.inside(1920, 1080) == (836, 0, 1552, 717)
    assert sources["Radio9_0"].box is None
    assert found.missing == ["Gone_0"]


def test_plain_folders_are_read_in_order_with_names_fit_for_keys(tmp_path: Path) -> None:
    """Dots, spaces and twins do not reach the keys, and the order is that of the paths."""
    touch(tmp_path / "b" / "My talk v1.2.mp4", tmp_path / "a" / "x.mov", tmp_path / "c" / "x.mp4", tmp_path / "n.txt")
    names = [source.name for source in find_sources([tmp_path]).sources]
    assert names[1] == "My_talk_v1_2"
    assert len({name.lower() for name in names}) == 3
    assert all(name.startswith("x-") for name in (names[0], names[2]))
    assert names == [source.name for source in find_sources([tmp_path]).sources]


def test_a_folder_of_pictures_is_a_source(tmp_path: Path) -> None:
    """Numbered pictures are footage; a cover beside videos is not."""
    touch(tmp_path / "take" / "0001.png", tmp_path / "film" / "cover.jpg", tmp_path / "film" / "a.mp4")
    (source,) = find_sources([tmp_path / "take"]).sources
    assert (source.name, source.path) == ("take", tmp_path / "take")
    assert [source.name for source in find_sources([tmp_path / "film"]).sources] == ["a"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p / "none", "does not exist"),
        (lambda p: p, "no footage"),
        (lambda p: (touch(p / "a.txt"), p / "a.txt")[1], "unknown kind"),
        (lambda p: ((p / "celebvhq_info.json").write_text("[1]"), p)[1], "not CelebV-HQ's list"),
    ],
)
def test_paths_without_footage_are_told(tmp_path: Path, make: object, said: str) -> None:
    """The error names the path and has a remedy."""
    with pytest.raises(DataError, match=said) as caught:
        find_sources([make(tmp_path)])  # type: ignore[operator]
    assert caught.value.hint
