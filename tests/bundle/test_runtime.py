from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, Usage
from orlop.model.runtime import Choices, User, runtime_spec
from tests.support.programs import image_config

ROOT = User(0, 0, home="/root")


def spec_of(process: dict[str, Any], **choices: Any) -> dict[str, Any]:
    return runtime_spec(image_config(process), Choices(**{"user": ROOT, "command": ["/bin/true"], **choices}))


@pytest.mark.parametrize(
    ("image", "command", "expected"),
    [
        ({"Entrypoint": ["/e"], "Cmd": ["a", "b"]}, [], ["/e", "a", "b"]),
        ({"Entrypoint": ["/e"], "Cmd": ["a"]}, ["c"], ["/e", "c"]),
        ({"Cmd": ["/bin/sh"]}, [], ["/bin/sh"]),
        ({"Cmd": ["/bin/sh"]}, ["ls", "-l"], ["ls", "-l"]),
        ({"Entrypoint": None, "Cmd": None}, ["ls"], ["ls"]),
    ],
)
def test_entrypoint_and_command_make_the_arguments(
    image: dict[str, Any], command: list[str], expected: list[str]
) -> None:
    assert spec_of(image, command=command)["process"]["args"] == expected


def test_an_image_without_a_command_needs_one() -> None:
    with pytest.raises(Usage, match="the image names no command"):
        spec_of({}, command=[])


def test_later_variables_win_and_path_home_and_term_are_there() -> None:
    spec = spec_of({"Env": ["A=1", "PATH=/x", "B=2"]}, environment=["A=3", "C=x=y"], terminal=True)
    values = dict(text.split("=", 1) for text in spec["process"]["env"])
    assert values == {"PATH": "/x", "HOME": "/root", "TERM": "xterm", "A": "3", "B": "2", "C": "x=y"}
    assert len(spec["process"]["env"]) == len(values)


def test_the_directory_is_the_images_unless_chosen() -> None:
    assert spec_of({})["process"]["cwd"] == "/"
    assert spec_of({"WorkingDir": "/srv"})["process"]["cwd"] == "/srv"
    assert spec_of({"WorkingDir": "/srv"}, workdir="/opt")["process"]["cwd"] == "/opt"
    assert spec_of({"WorkingDir": "srv"})["process"]["cwd"] == "/srv"


def test_EX26_labels_are_not_forwarded_to_the_runtime() -> None:
    labels = {"run.oci.handler": "wasm", "run.oci.hooks.stdout": "/tmp/x", "org.systemd.property.X": "1"}
    config = image_config({"Labels": labels, "StopSignal": "SIGQUIT"}, author="me", created="2024-01-01T00:00:00Z")
    spec = runtime_spec(config, Choices(user=ROOT, command=["x"]))
    assert spec["annotations"] == {
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.author": "me",
        "org.opencontainers.image.created": "2024-01-01T00:00:00Z",
        "org.opencontainers.image.stopSignal": "SIGQUIT",
    }
    assert "run.oci" not in json.dumps(spec)
    assert "hooks" not in spec


def test_privileges_are_few_and_cannot_grow() -> None:
    process = spec_of({})["process"]
    assert process["noNewPrivileges"] is True
    assert process["capabilities"]["inheritable"] == process["capabilities"]["ambient"] == []
    for refused in ("CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SYS_PTRACE", "CAP_SYS_MODULE"):
        assert refused not in process["capabilities"]["bounding"]
    plain = spec_of({}, user=User(1000, 100, (7,)))["process"]
    assert plain["capabilities"]["effective"] == plain["capabilities"]["permitted"] == []
    assert plain["user"] == {"uid": 1000, "gid": 100, "additionalGids": [7]}


def test_the_network_is_shared_unless_there_is_to_be_none() -> None:
    def kinds(spec: dict[str, Any]) -> set[str]:
        return {namespace["type"] for namespace in spec["linux"]["namespaces"]}

    assert kinds(spec_of({})) == {"pid", "ipc", "uts", "mount"}
    assert kinds(spec_of({}, network="none")) == {"pid", "ipc", "uts", "mount", "network"}
    assert kinds(spec_of({}, cgroups=True)) == {"pid", "ipc", "uts", "mount", "cgroup"}


def test_without_root_one_user_and_group_are_mapped() -> None:
    spec = spec_of({}, owner=(1234, 5678), user=User(33, 44, (7,)))
    assert spec["linux"]["uidMappings"] == [{"containerID": 33, "hostID": 1234, "size": 1}]
    assert spec["linux"]["gidMappings"] == [{"containerID": 44, "hostID": 5678, "size": 1}]
    assert "additionalGids" not in spec["process"]["user"]
    by_target = {mount["destination"]: mount for mount in spec["mounts"]}
    assert "gid=5" not in by_target["/dev/pts"]["options"]
    assert "rbind" in by_target["/sys"]["options"]


def test_the_default_file_systems_are_there_and_files_are_bound_read_only() -> None:
    spec = spec_of({}, files=[("/etc/resolv.conf", "/etc/resolv.conf")], cgroups=True)
    targets = [mount["destination"] for mount in spec["mounts"]]
    assert targets == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
        "/etc/resolv.conf",
    ]
    assert {"bind", "ro"} <= set(spec["mounts"][-1]["options"])
    assert "/proc/kcore" in spec["linux"]["maskedPaths"]
    assert "/proc/sys" in spec["linux"]["readonlyPaths"]


@pytest.mark.parametrize(
    "process",
    [{"Env": [1]}, {"Cmd": {}}, {"Cmd": [["x"]]}, {"WorkingDir": 7}, {"Cmd": ["a\0b"]}],
)
def test_a_config_of_wrong_types_is_refused(process: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        spec_of(process, command=[])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("Env", "Cmd", "Entrypoint", "WorkingDir", "StopSignal"), JSON))
)
def test_any_config_gives_a_specification_or_an_error_of_ours(process: dict[str, Any]) -> None:
    try:
        spec = spec_of(process)
    except Error:
        return
    assert all(isinstance(text, str) for text in spec["process"]["args"])
    assert spec["process"]["cwd"].startswith("/")
