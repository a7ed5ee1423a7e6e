"""The words of the help pages: keys of each screen, and the few things worth knowing there."""

from __future__ import annotations

HelpPart = tuple[str, tuple[tuple[str, str], ...]]

HOME: tuple[HelpPart, ...] = (
    (
        "runs",
        (
            ("Up  Down", "choose a run"),
            ("Enter", "watch it"),
            ("n", "a new run"),
            ("s", "stop: it finishes the step and saves"),
            ("p", "pause, and go on again"),
            ("r", "resume a stopped or crashed run from its last checkpoint"),
            ("d", "the dataset doctor: look at a folder of pictures"),
            ("q", "quit; runs go on"),
        ),
    ),
)

WIZARD: tuple[HelpPart, ...] = (
    (
        "new run",
        (
            ("Tab  Down", "next field; a folder is completed first"),
            ("Enter", "take it and go on"),
            ("Left  Right", "change a choice"),
            ("Backspace", "empty: the wizard decides again"),
            ("PgDn  PgUp", "the rest of a page that is longer than the screen"),
            ("Ctrl+N", "next step (also Alt+Right)"),
            ("Esc", "step back; on the first step leave"),
            ("/  F3", "find a field by its name, key or explanation; / is a letter in a text"),
            ("Ctrl+S", "save the plan to a file"),
        ),
    ),
    (
        "how it works",
        (
            ("grey values", "derived for you; the reason stands beside them"),
            ("bright values", "yours; everything else adapts to them"),
            ("nothing is lost", "pictures are only read; a plan is a small text file"),
        ),
    ),
)

CAPTIONS: tuple[HelpPart, ...] = (
    (
        "captions",
        (
            ("PgDn  PgUp", "next, previous picture"),
            ("Ctrl+F", "find and replace in all captions"),
            ("Ctrl+T", "put a word in front of all captions that lack it"),
            ("Ctrl+S", "save what was changed"),
            ("Esc", "back to the wizard"),
            ("one line each", "of several captions a picture has, with captions.several = lines"),
            ("nothing is lost", "captions go into a folder of their own; the pictures' is only read"),
        ),
    ),
)

MONITOR_RUN: HelpPart = (
    "run",
    (
        ("q", "detach: the run goes on; sdtrain attach comes back"),
        ("s", "stop: finish the step, save, leave"),
        ("p", "pause, and go on"),
        ("r", "resume a stopped, failed or crashed run"),
        ("c  g", "save a checkpoint now, draw previews now"),
    ),
)

EVERYWHERE = (
    ("Tab  Shift+Tab", "next, previous part"),
    ("Esc", "one level out"),
    ("Ctrl+P", "commands by name, themes"),
    ("?  F1", "this help"),
    ("Ctrl+C  Ctrl+Q", "leave the app; runs go on"),
)
