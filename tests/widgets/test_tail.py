"""Following a text file: its end first, whole lines only, a replaced file anew."""

from pathlib import Path

from sdtrain_tui.tail import Tail


def test_a_file_is_followed_by_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    tail = Tail(path)
    assert tail.poll() == []
    path.write_text("one\ntwo\nthr")
    assert tail.poll() == ["one", "two"]
    assert tail.poll() == []
    with path.open("a") as file:
        file.write("ee\nfour\n")
    assert tail.poll() == ["three", "four"]


def test_a_long_file_begins_with_its_last_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("".join(f"line {i}\n" for i in range(10_000)))
    lines = Tail(path, first_bytes=100).poll()
    assert lines[-1] == "line 9999"
    assert all(line.startswith("line ") for line in lines)
    assert len(lines) < 12


def test_a_replaced_or_cut_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("old old old\n")
    tail = Tail(path)
    assert tail.poll() == ["old old old"]
    path.write_text("cut\n")
    assert tail.poll() == ["cut"]
    (tmp_path / "fresh").write_text("another file\n")
    (tmp_path / "fresh").replace(path)
    assert tail.poll() == ["another file"]


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(b"\xff\xfe broken\nfine\n")
    assert Tail(path).poll()[1] == "fine"


def test_a_line_without_an_end_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("x" * 300)
    tail = Tail(path)
    assert tail.poll(max_bytes=100) == ["x" * 100]


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    lines = ["10%\r20%\r30%", "form\ffeed", "next\x85line", "para\u2029graph", "", "end"]
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    assert Tail(path).poll() == lines
