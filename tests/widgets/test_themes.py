"""Theme files: the packaged ones load and stay readable with few colours; a bad one is told and left out."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.color import Color, ColorSystem
from textual.theme import Theme

from sdtrain_tui.palette import ROLES, SIXTEEN
from sdtrain_tui.themes import DEFAULT, load_themes, packaged_folder, read_theme, user_folder

PACKAGED = load_themes([packaged_folder()]).themes
TEXTS = ("text", "quiet", "accent", "line", "ok", "warn", "error", "util", "memory", "focus")


def luminance(rgb: Iterable[int]) -> float:
    """Relative luminance as WCAG defines it."""
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(theme: Theme, role: str, system: ColorSystem) -> float:
    """The contrast of a role on the background, in the colours that the terminal has."""
    colors = [Color.parse(theme.variables[ROLES[role][0]]), Color.parse(theme.background or "")]
    light = sorted(luminance(c.downgrade(system).get_truecolor()) for c in colors)
    return (light[1] + 0.05) / (light[0] + 0.05)


def test_the_packaged_themes_load_without_a_warning() -> None:
    found = load_themes([packaged_folder()])
    assert found.warnings == []
    assert set(found.themes) == {DEFAULT, "sdtrain-light", "high-contrast", "colour-blind"}
    for theme in found.themes.values():
        assert set(theme.variables) == {variable for variable, _, _ in ROLES.values()}


@pytest.mark.parametrize("name", sorted(PACKAGED))
@pytest.mark.parametrize("system", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD])
def test_every_text_can_be_read_at_every_number_of_colours(name: str, system: ColorSystem) -> None:
    least = 3.0 if system is ColorSystem.STANDARD else 7.0 if name == "high-contrast" else 4.5
    poor = {role: round(contrast(PACKAGED[name], role, system), 1) for role in TEXTS}
    assert {role: value for role, value in poor.items() if value < least} == {}


@pytest.mark.parametrize("name", sorted(PACKAGED))
@pytest.mark.parametrize("system", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD])
def test_frames_and_the_raw_curve_can_be_seen_and_stay_behind(name: str, system: ColorSystem) -> None:
    for role in ("faint", "ghost"):
        assert contrast(PACKAGED[name], role, system) >= 1.4
        assert contrast(PACKAGED[name], role, system) <= contrast(PACKAGED[name], "text", system)


def test_with_sixteen_colours_states_still_differ_by_hue() -> None:
    for side, background in enumerate(("#000000", "#ffffff")):
        found = {
            role: Color.parse(pair[side]).downgrade(ColorSystem.STANDARD).number
            for role, pair in SIXTEEN.items()
        }
        assert len({found["ok"], found["warn"], found["error"], found["memory"], found["line"]}) == 5
        assert Color.parse(background).downgrade(ColorSystem.STANDARD).number not in found.values()


GOOD = 'name = "mine"\n[colors]\nprimary = "#ff0000"\n[roles]\nline = "red"\n'


def test_a_users_theme_has_the_same_form_and_replaces_one_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    (tmp_path / "other.toml").write_text(GOOD.replace("mine", DEFAULT))
    found = load_themes([packaged_folder(), tmp_path])
    assert found.themes["mine"].variables == {"sd-line": "red"}
    assert found.themes[DEFAULT].primary == "#ff0000"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "TOML"),
        ('[colors]\nprimary = "reddish"', "colors.primary is no colour"),
        ("[colors]\nprimary = 3", "colors.primary is no colour"),
        ('[colors]\nprimmary = "red"', "unknown colors key 'primmary'"),
        ('[roles]\nline = "red"', "colors.primary is missing"),
        ("colors = 3", "colors must be a table"),
        ('name = ""\n[colors]\nprimary = "red"', "name must be a text"),
        ('dark = "yes"\n[colors]\nprimary = "red"', "dark must be true or false"),
        ("x" * 70_000, "larger than"),
    ],
)
def test_a_bad_theme_is_left_out_with_its_reason(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    (tmp_path / "good.toml").write_text(GOOD)
    found = load_themes([tmp_path])
    assert list(found.themes) == ["mine"]
    assert len(found.warnings) == 1
    assert "bad.toml" in found.warnings[0]
    assert says in found.warnings[0]


def test_a_file_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.toml").mkdir()
    assert len(load_themes([tmp_path, tmp_path / "missing"]).warnings) == 2


def test_a_theme_without_a_name_takes_the_files(tmp_path: Path) -> None:
    (tmp_path / "paper.toml").write_text('[colors]\nprimary = "red"')
    assert read_theme(tmp_path / "paper.toml").name == "paper"


def test_the_users_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "sdtrain" / "themes"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert user_folder() == Path.home() / ".config" / "sdtrain" / "themes"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b'name = "\\u001b]0;owned\\u0007"\n[colors]\nprimary = "#ff0000"\n',
        b"x = " + b"[" * 60_000,
        b".".join([b"a"] * 20_000) + b" = 1",
        b"dark = " + b"9" * 5000,
        b'name = "x"\n[colors]\nprimary = "/etc/passwd"\n',
        b'name = "x"\n[colors]\nprimary = 5\n',
        b'name = "x"\ncolors = ["red"]\n',
    ],
    ids=range(9),
)
def test_a_theme_that_means_harm_is_left_out_and_told_in_a_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    found = load_themes([tmp_path])
    assert found.themes == {} and len(found.warnings) == 1
    assert "bad.toml" in found.warnings[0] and len(found.warnings[0]) < 1000


def test_what_is_no_plain_file_among_themes_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "device.toml").symlink_to("/dev/zero")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    assert len(load_themes([tmp_path]).warnings) == 4
