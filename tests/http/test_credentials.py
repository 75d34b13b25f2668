"""Where credentials are found, and for which host: never for another."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.errors import Denied, Error, Invalid, NotFound, Usage
from orlop.http.client import Client
from orlop.http.credentials import ANONYMOUS, find
from orlop.settings import Network
from tests.support.lying import CANARY


def auth(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def network(folder: Path, **auths: Any) -> Network:
    file = folder / "auth.json"
    file.write_text(json.dumps(auths))
    return Network(authfile=file)


@pytest.mark.parametrize(
    ("stored", "host", "repository", "user"),
    [
        ("reg.example", "reg.example", "a", "u"),
        ("reg.example:5000", "reg.example:5000", "a", "u"),
        ("https://reg.example/v1/", "reg.example", "a", "u"),
        ("https://reg.example", "reg.example", "a", "u"),
        ("reg.example/v2/", "reg.example", "a", "u"),
        ("https://index.docker.io/v1/", "docker.io", "library/a", "u"),
        ("docker.io", "docker.io", "library/a", "u"),
        ("index.docker.io", "docker.io", "a/b", "u"),
        ("reg.example/team", "reg.example", "team/app", "u"),
        ("reg.example/team/app", "reg.example", "team/app", "u"),
        # and these are somebody else's
        ("reg.example", "reg.example:5000", "a", ""),
        ("reg.example:5000", "reg.example", "a", ""),
        ("reg.example", "sub.reg.example", "a", ""),
        ("sub.reg.example", "reg.example", "a", ""),
        ("reg.example", "reg.example.evil", "a", ""),
        ("reg.example/team", "reg.example", "team2/app", ""),
        ("reg.example/team", "reg.example", "other", ""),
        ("https://index.docker.io/v1/", "reg.example", "a", ""),
        ("https://index.docker.io/v1/", "docker.io.evil", "a", ""),
        ("ftp://reg.example", "reg.example", "a", ""),
        ("", "reg.example", "a", ""),
    ],
)
def test_CR06_a_credential_is_for_the_exact_host_and_path(
    tmp_path: Path, stored: str, host: str, repository: str, user: str
) -> None:
    assert find(host, repository, network(tmp_path, auths={stored: auth("u")})).username == user


def test_CR06_the_longest_path_wins(tmp_path: Path) -> None:
    auths = {"reg.example": auth("host"), "reg.example/a": auth("a"), "reg.example/a/b": auth("ab")}
    place = network(tmp_path, auths=auths)
    assert [find("reg.example", name, place).username for name in ("a/b/c", "a/b", "a/c", "x")] == [
        "ab",
        "ab",
        "a",
        "host",
    ]


def test_files_are_looked_at_in_order_and_the_source_is_told(tmp_path: Path) -> None:
    home, runtime, docker = tmp_path / "home", tmp_path / "run", tmp_path / "docker"
    places = [
        runtime / "containers" / "auth.json",
        home / ".config" / "containers" / "auth.json",
        docker / "config.json",
        home / ".dockercfg",
    ]
    for index, file in enumerate(places):
        file.parent.mkdir(parents=True, exist_ok=True)
        auths = {"reg.example": auth(f"user{index}")}
        file.write_text(json.dumps(auths if file.name == ".dockercfg" else {"auths": auths}))
    found = Network(home=home, runtime_dir=runtime, docker_config=docker)
    for index, file in enumerate(places):
        credential = find("reg.example", "a", found)
        assert credential.username == f"user{index}"
        assert str(file) in credential.source
        file.unlink()
    assert find("reg.example", "a", found) == ANONYMOUS


def test_the_environment_comes_before_files_and_an_authfile_before_all(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {"reg": auth("docker")}}))
    registry_auth = tmp_path / "r.json"
    registry_auth.write_text(json.dumps({"auths": {"reg": auth("registry-auth")}}))
    own = json.dumps({"auths": {"reg": auth("environment")}})
    only = network(tmp_path, auths={"reg": auth("authfile")}).authfile
    everything = {"home": tmp_path, "registry_auth_file": registry_auth, "docker_auth_config": own, "authfile": only}
    for field, user in (
        ("authfile", "authfile"),
        ("docker_auth_config", "environment"),
        ("registry_auth_file", "registry-auth"),
    ):
        assert find("reg", "a", Network(**everything)).username == user  # type: ignore[arg-type]
        del everything[field]
    assert find("reg", "a", Network(home=tmp_path)).username == "docker"


def test_an_authfile_is_the_only_file_and_must_exist(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {"reg": auth("docker")}}))
    only = network(tmp_path, auths={}).authfile
    assert find("reg", "a", Network(home=tmp_path, authfile=only)) == ANONYMOUS
    with pytest.raises(NotFound, match="no such file"):
        find("reg", "a", Network(home=tmp_path, authfile=tmp_path / "none"))


def test_all_kinds_of_entries_are_understood(tmp_path: Path) -> None:
    auths = {
        "plain": {"username": "u", "password": "p"},
        "identity": {**auth("0000", ""), "identitytoken": "refresh"},
        "registry": {"registrytoken": "bearer"},
        "empty": {},
        "colon": auth("u", "p:w:d"),
    }
    place = network(tmp_path, auths=auths)
    assert find("plain", "a", place).basic == "Basic " + base64.b64encode(b"u:p").decode()
    assert find("identity", "a", place).identity_token == "refresh"
    assert find("identity", "a", place).basic == ""
    assert find("registry", "a", place).registry_token == "bearer"
    assert find("empty", "a", place) == ANONYMOUS
    assert find("colon", "a", place).password == "p:w:d"


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense " + CANARY.encode(),
        b"[]",
        b'{"auths":[]}',
        b'{"auths":{"reg":{"auth":"!"}}}',
        b'{"auths":{"reg":[]}}',
        b"\xff",
    ],
)
def test_CR10_a_broken_file_is_named_without_its_content(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "auth.json"
    file.write_bytes(content)
    with pytest.raises(Invalid, match=r"auth\.json") as failure:
        find("reg", "a", Network(authfile=file))
    assert CANARY not in str(failure.value)


def test_credentials_of_the_command_line_are_for_the_named_host_only() -> None:
    given_ = Network(username="u", password=CANARY)
    with Client(given_, named="reg.example") as client:
        assert client.credential("reg.example", "a").username == "u"
        assert client.credential("other.example", "a") == ANONYMOUS
        assert CANARY not in repr(client.credential("reg.example", "a"))
    with pytest.raises(Usage):
        Client(given_)


def helper(folder: Path, name: str, script: str) -> Path:
    file = folder / f"docker-credential-{name}"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_a_helper_of_its_host_comes_before_the_store_of_all(tmp_path: Path) -> None:
    for name in ("one", "all"):
        helper(
            tmp_path, name, f'read server; echo \'{{"ServerURL":"x","Username":"{name}-\'$server\'","Secret":"s"}}\''
        )
    fields = {"credHelpers": {"reg": "one"}, "credsStore": "all", "auths": {"reg": auth("file")}}
    place = network(tmp_path, **fields)
    asked = Network(authfile=place.authfile, helper_path=str(tmp_path))
    assert find("reg", "a", asked).username == "one-reg"
    assert find("other", "a", asked).username == "all-other"
    assert find("docker.io", "a", asked).username == "all-https://index.docker.io/v1/"
    assert find("reg", "a", asked).source == f"docker-credential-one, named by {place.authfile} (credHelpers)"


def test_a_helper_may_give_an_identity_token(tmp_path: Path) -> None:
    helper(tmp_path, "one", 'echo \'{"Username":"<token>","Secret":"refresh"}\'')
    place = network(tmp_path, credHelpers={"reg": "one"})
    found = find("reg", "a", Network(authfile=place.authfile, helper_path=str(tmp_path)))
    assert (found.identity_token, found.username, found.basic) == ("refresh", "", "")


def test_CR06_a_missing_helper_is_an_error_and_nothing_else_is_tried(tmp_path: Path) -> None:
    place = network(tmp_path, credHelpers={"reg": "none"}, auths={"reg": auth("file")})
    with pytest.raises(Denied, match="docker-credential-none: not found"):
        find("reg", "a", Network(authfile=place.authfile, helper_path=str(tmp_path)))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["reg", "auth", "auths", "credHelpers", "credsStore", "x"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.dictionaries(st.sampled_from(["auths", "credHelpers", "credsStore"]), _JSON))
def test_configurations_raise_only_our_errors(tmp_path: Path, fields: dict[str, Any]) -> None:
    with contextlib.suppress(Error):
        find("reg", "a/b", network(tmp_path, **fields))
