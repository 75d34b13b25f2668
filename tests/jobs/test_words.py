"""T06: what each job takes, says and returns, in the words of its time."""

from __future__ import annotations

import json

import pytest

from orlop.jobs import NAMES
from orlop.store import Store
from tests.support.images import make_layer
from tests.support.v1images import A, B, add, v1

from .running import run

USAGES = {
    "image_set": ("usage: image_set NAME", (0, 2)),
    "image_tag": ("usage: image_tag NEWNAME OLDNAME", (0, 1, 3)),
    "tag": ("Usage: tag IMAGE REPOSITORY [TAG]", (0, 1, 4)),
    "image_get": ("usage: image_get NAME", (0, 2)),
    "image_inspect": ("usage: image_inspect NAME", (0, 2)),
    "image_tarlayer": ("usage: image_tarlayer NAME", (0, 2)),
    "image_export": ("Usage: image_export IMAGE [IMAGE...]", (0,)),
    "image_delete": ("Usage: image_delete IMAGE", (0, 2)),
    "load": ("usage: load", (1,)),
    "import": ("Usage: import SRC REPO [TAG]", (0, 1, 4)),
    "history": ("Usage: history IMAGE", (0, 2)),
    "images": ("usage: images", (1,)),
    "viz": ("usage: viz", (1,)),
    "pull": ("Usage: pull IMAGE [TAG]", (0, 3)),
    "push": ("Usage: push IMAGE", (0, 2)),
    "search": ("Usage: search TERM", (0, 2)),
    "auth": ("Usage: auth", (1,)),
}
MISSING = ("image_inspect", "image_tarlayer", "image_delete", "history")


@pytest.mark.parametrize(("name", "count"), [(name, count) for name, (_, counts) in USAGES.items() for count in counts])
def test_T06_a_wrong_number_of_arguments_is_told_how_it_is_called(store: Store, name: str, count: int) -> None:
    ran = run(store, name, *["x"] * count, json="{}")
    assert (ran.status, ran.out, ran.err) == (1, b"", f"{USAGES[name][0]}\n")


def test_T06_commands_lists_every_job(store: Store) -> None:
    assert run(store, "commands").lines == sorted(NAMES)


def test_T06_an_unknown_job_is_not_found(store: Store) -> None:
    ran = run(store, "image_gte", "x")
    assert (ran.status, ran.out, ran.err) == (127, b"", "image_gte: command not found\n")


def test_T06_image_set_needs_a_json(store: Store) -> None:
    ran = run(store, "image_set", A, stdin=make_layer({}))
    assert (ran.status, ran.err) == (1, "mandatory key 'json' is not set\n")


def test_T06_the_jobs_that_change_something_print_nothing(store: Store) -> None:
    ran = run(store, "image_set", A, json=v1(A).raw.decode(), stdin=make_layer({"x": b"y"}))
    assert (ran.status, ran.out, ran.err) == (0, b"", "")
    assert run(store, "image_tag", "app:1", A) == run(store, "tag", A, "app", "2") == ran
    assert store.tags.all() == {"app": {"1": A, "2": A}}


def test_T06_image_set_refuses_an_image_that_exists(store: Store) -> None:
    add(store, A, files={"x": b"y"})
    ran = run(store, "image_set", A, json=v1(A, comment="other").raw.decode())
    assert (ran.status, ran.err) == (1, f"Image {A} already exists\n")
    assert store.graph.get(A).image.raw == v1(A).raw


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("image", ["nosuch", "ab", A, "no/such:tag", "host:5000/x:1"])
def test_T06_an_unknown_image_is_told_by_its_name(store: Store, name: str, image: str) -> None:
    ran = run(store, name, image)
    assert (ran.status, ran.out, ran.err) == (1, b"", f"No such image: {image}\n")


@pytest.mark.parametrize(("name", "arguments"), [("tag", ("nosuch", "app")), ("image_tag", ("app", "nosuch"))])
def test_T06_an_unknown_image_gets_no_name(store: Store, name: str, arguments: tuple[str, ...]) -> None:
    ran = run(store, name, *arguments)
    assert (ran.status, ran.err) == (1, "No such id: nosuch\n")


def test_T06_tag_refuses_to_move_a_name_unless_forced_and_image_tag_moves_it(store: Store) -> None:
    for id in (A, B):
        add(store, id)
    assert run(store, "tag", A, "app").status == run(store, "tag", A, "app").status == 0
    ran = run(store, "tag", B, "app")
    text = f"Conflict: Tag app:latest is already set to {A}, if you want to replace it, please use -f option"
    assert (ran.status, ran.error) == (1, text)
    assert run(store, "tag", B, "app", force="1").status == 0
    assert store.tags.get("app") == {"latest": B}
    assert run(store, "image_tag", "app", A).status == 0
    assert store.tags.get("app") == {"latest": A}


@pytest.mark.parametrize(
    ("repository", "tag", "text"),
    [
        ("", "1", "Repository name can't be empty"),
        ("app", "-x", "Illegal tag name (-x): only [A-Za-z0-9_.-] are allowed, minimum 1, maximum 128"),
    ],
)
def test_T06_bad_names_are_told(store: Store, repository: str, tag: str, text: str) -> None:
    add(store, A)
    ran = run(store, "tag", A, repository, tag)
    assert (ran.status, ran.error) == (1, text)


@pytest.mark.parametrize("filters", ["{", "[]", '{"dangling":1}', '{"label":["x"]}', '{"dangling":[true]}'])
def test_T06_images_refuses_filters_that_are_none(store: Store, filters: str) -> None:
    ran = run(store, "images", filters=filters)
    assert ran.status == 1
    assert ran.out == b""
    assert "ilter" in ran.error


def test_T06_history_export_and_load_of_nothing_say_so(store: Store) -> None:
    assert run(store, "image_export", "nosuch").error == "No such id: nosuch"
    assert run(store, "load").status == 1
    assert json.loads(run(store, "images").out) == []
