"""Plan files as editors, other systems and accidents leave them: read, or refused in one clear line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.plan import other_tools
from engine.plan.files import load_plan
from engine.plan.methods import METHODS
from engine.plan.problems import PlanErrors
from engine.plan.schema import plan_fields
from tests.cli.conftest import Cli

TEXT = 'name = "x"\n[base]\nmodel = "builtin:tiny"\n[data]\npath = "pictures"\ntrigger = "caf\u00e9"\n'


def told(error: UserError) -> str:
    return "\n".join(error.lines())


def refused(tmp_path: Path, content: bytes | str) -> str:
    file = tmp_path / "plan.toml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as caught:
        load_plan(file)
    text = told(caught.value)
    assert len(text) < 4000 and len(text.splitlines()) < 20
    return text


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path, mark: bytes, ending: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_bytes(mark + TEXT.replace("\n", ending).encode())
    assert load_plan(file).data.trigger == "caf\u00e9"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-16", "it is UTF-16"),
        ("utf-16-le", "it is UTF-16"),
        ("utf-16-be", "it is UTF-16"),
        ("utf-32", "it is UTF-32"),
        ("utf-32-le", "it is UTF-32"),
        ("latin-1", "line 6 has the byte 0xe9"),
        ("cp1252", "line 6 has the byte 0xe9"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, encoding: str, said: str) -> None:
    text = refused(tmp_path, TEXT.encode(encoding))
    assert said in text and "save it as UTF-8" in text


@pytest.mark.parametrize(
    "path", [r"C:\Users\me\pics", r"D:\data\cats", r"\\server\share", "C:\\pics\\", r"C:\new\test", r"E:\fox"]
)
def test_single_backslashes_are_named_with_their_way_out(tmp_path: Path, path: str) -> None:
    text = refused(tmp_path, TEXT.replace("pictures", path))
    assert "single backslash" in text and "single quotes" in text
    assert "line 5" in text or "data.path" in text


@pytest.mark.parametrize(
    ("line", "number", "said"),
    [
        ("name = \u201cx\u201d", 1, "a curly quote"),
        ("name = \u2018x\u2019", 1, "a curly quote"),
        ('name = "x\u201d', 1, "a curly quote"),
        ('name\u00a0= "x"', 1, "a no-break space"),
        ('name =\u202f"x"', 1, "a no-break space"),
        ('\u200bname = "x"', 1, "an invisible character"),
        ('name = "x"\nseed = \u22121', 2, "a long dash"),
    ],
)
def test_typographic_marks_are_named_with_their_line(
    tmp_path: Path, line: str, number: int, said: str
) -> None:
    text = refused(tmp_path, TEXT.replace('name = "x"', line))
    assert said in text and f"line {number}" in text


def test_typographic_marks_in_texts_are_texts(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(TEXT.replace("caf\u00e9", "\u201ca\u00a0cat\u201d \u2013 b.c.d"), encoding="utf-8")
    assert load_plan(file).data.trigger == "\u201ca\u00a0cat\u201d \u2013 b.c.d"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("pictures", r"pic\u0000tures", "data.path"),
        ("builtin:tiny", r"tiny\u0000", "base.model"),
        ("caf\u00e9", r"\u0000", "data.trigger"),
        ('name = "x"', r'name = "x\u0000"', "name"),
        ('trigger = "caf\u00e9"', r"[samples]" "\n" r'prompts = ["a", "b\u0000"]', "samples.prompts"),
        ('name = "x"', 'name = "x"\nversion = true', "version"),
        ('name = "x"', 'name = "x"\nversion = 1.0', "version"),
        ('name = "x"', f'name = "x"\nseed = 0x{"f" * 5000}', "seed"),
        ('name = "x"', f'name = "x"\nversion = 0x{"f" * 5000}', "version"),
        ('trigger = "caf\u00e9"', "resolution = 9223372036854775808", "data.resolution"),
        ('trigger = "caf\u00e9"', '[hardware]\ndevice = "cuda:0,1"', "hardware.device"),
        ('trigger = "caf\u00e9"', '[hardware]\ndevice = "cuda:\u0663"', "hardware.device"),
    ],
)
def test_values_that_nothing_can_hold_are_problems_of_their_key(
    tmp_path: Path, old: str, new: str, key: str
) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(PlanErrors) as caught:
        load_plan(file)
    assert [problem.key for problem in caught.value.problems] == [key]
    assert len(told(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"seed = {'9' * 5000}\n{TEXT}", "line 1 has a number of 5,000 digits"),
        (f"{TEXT}resolution = -{'9' * 5000}\n", "line 7 has a number of 5,000 digits"),
        (f"{'.'.join('a' * 20_000)} = 1\n{TEXT}", "a key of more than 32 parts"),
        (f"{TEXT}[{'.'.join('a' * 20_000)}]\n", "a key of more than 32 parts"),
        (f"{TEXT}x = {{ {' . '.join(['a'] * 20_000)} = 1 }}\n", "a key of more than 32 parts"),
        (f"x = {'[' * 100_000}\n{TEXT}", "too deeply"),
        (f"x = {'{a=' * 100_000}\n{TEXT}", "too deeply"),
        (b"PK\x03\x04" + bytes(1000), "not a text file"),
        ("\n".join(f"k{number} = 1" for number in range(50_000)), "more problems"),
        (f"{'k' * 500_000} = 1\n{TEXT}", "no such key"),
    ],
    ids=range(10),
)
def test_a_file_of_any_content_ends_in_one_short_message(
    tmp_path: Path, content: bytes | str, said: str
) -> None:
    file = tmp_path / "plan.toml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as caught:
        load_plan(file)
    assert said in told(caught.value)
    assert len(told(caught.value)) < 20_000


def test_what_is_no_plain_file_is_never_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    for path in (Path("/dev/zero"), Path("/dev/null"), pipe, tmp_path):
        with pytest.raises(UserError) as caught:
            load_plan(path)
        assert str(path) in caught.value.what and caught.value.why
    grown = tmp_path / "grown.toml"
    with grown.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="too large"):
        load_plan(grown)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('[train]\nschedule = "wsd"', 'set "warmup_stable_decay"'),
        ('[train]\nschedule = "constant_with_warmup"', "train.warmup"),
        ('[optimizer]\nname = "dadaptation"', 'it is not offered: set "prodigy"'),
        ('[optimizer]\nname = "PagedAdamW8bit"', 'set "paged_adamw8bit"'),
        ("[lora]\nnetwork_dim = 32", "did you mean lora.rank?"),
        ("[lora]\nnetwork_alpha = 32", "did you mean lora.alpha?"),
        ('[train]\nlr-scheduler = "cosine"', "did you mean train.schedule?"),
        ('[base]\npretrained_model_name_or_path = "x"', "did you mean base.model?"),
        ("[train]\nclip_skip = 2", "did you mean base.clip_skip?"),
        ("[objective]\nmultires_noise_iterations = 6", "did you mean objective.pyramid_noise?"),
        ("[objective]\nip_noise_gamma = 0.1", "did you mean objective.input_perturbation?"),
        ("[train]\nzero_terminal_snr = true", "base.zero_terminal_snr"),
        ("[lora]\nconv_dim = 8", "did you mean lora.conv_rank?"),
        ("[lora]\nloraplus_lr_ratio = 16", "did you mean lora.plus_ratio?"),
        ('[objective]\nloss = "smooth_l1"', 'set "huber"'),
        ('[objective]\ntimesteps = "content"', 'set "cubic"'),
        ('[lora]\nkind = "diag-oft"', 'set "oft"'),
        ("[train]\nmax_token_length = 225", "did you mean captions.max_tokens?"),
    ],
)
def test_names_of_other_tools_say_what_a_plan_has(tmp_path: Path, line: str, said: str) -> None:
    text = TEXT.replace("[base]\n", f"{line}\n") if line.startswith("[base]") else f"{TEXT}{line}\n"
    assert said in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("key", "said"), [("train_data_dir", "data.path"), ("caption_extension", "no key is needed")]
)
def test_keys_of_other_tools_in_the_data_table(tmp_path: Path, key: str, said: str) -> None:
    assert said in refused(tmp_path, f'{TEXT}{key} = "x"\n')


def test_every_key_and_value_that_a_hint_names_is_one() -> None:
    fields = {field.key: field for method in METHODS for field in plan_fields(method)}
    plain = [key for key in other_tools.KEYS.values() if " " not in key]
    named = {key.format(method=method) for key in plain for method in METHODS}
    missing = {key for key in plain if not {key.format(method=method) for method in METHODS} & fields.keys()}
    assert not missing and named & fields.keys()
    for key, values in other_tools.VALUES.items():
        assert not set(values) & set(fields[key].choices), f"{key}: a hint for a value that is right"


def test_a_hint_never_names_a_key_that_the_method_has_not(tmp_path: Path) -> None:
    text = refused(tmp_path, f'method = "full"\n{TEXT}[full]\nnetwork_dim = 8\n')
    assert "full.rank" not in text and "full" in text


@pytest.mark.parametrize("command", ["check", "estimate", "run"])
@pytest.mark.parametrize(
    "content",
    [TEXT.encode("utf-16"), TEXT.replace("pictures", r"a\u0000").encode(), b"a." * 20_000 + b"a = 1"],
)
def test_every_command_that_reads_a_plan_refuses_it_with_2(cli: Cli, command: str, content: bytes) -> None:
    file = cli.folder / "bad.toml"
    file.write_bytes(content)
    done = cli(command, str(file))
    assert done.code == 2 and "why: " in done.err and "Traceback" not in done.err
