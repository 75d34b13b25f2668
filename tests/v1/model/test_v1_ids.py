"""Computed IDs, to those that the tests of Docker and of docker/distribution have: `model.v1_ids`."""

from __future__ import annotations

import gzip
import hashlib
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Error, Invalid
from orlop.model.digest import Digest
from orlop.model.v1_ids import EMPTY_DIFF_ID, EMPTY_LAYER, chain, strong_config, strong_id, strong_ids

ID = "ab" * 32
# docker/distribution, manifest/schema1/config_builder_test.go
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ADD = "#(nop) ADD file:a3bc1e842b69636f9df5256c49c5374fb4eef1e281fe3f282c65fb853ee171c5 in /"
RUN = '#(nop) CMD ["/bin/sh" "-c" "echo hi"]'


def runtime(command: list[str]) -> dict[str, Any]:
    return {
        "AttachStderr": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "Cmd": command,
        "Domainname": "",
        "Entrypoint": None,
        "Env": [PATH, "derived=true", "asdf=true"],
        "Hostname": "23304fc829f9",
        "Image": "sha256:4ab15c48b859c2920dd5224f92aabcd39a52794c5b3cf088fb3bbb438756c246",
        "Labels": {},
        "OnBuild": [],
        "OpenStdin": False,
        "StdinOnce": False,
        "Tty": False,
        "User": "",
        "Volumes": None,
        "WorkingDir": "",
    }


CONFIG = {
    "architecture": "amd64",
    "config": runtime(["/bin/sh", "-c", "echo hi"]),
    "container": "e91032eb0403a61bfe085ff5a5a48e3659e5a6deae9f4d678daa2ae399d5a001",
    "container_config": runtime(["/bin/sh", "-c", RUN]),
    "created": "2015-11-04T23:06:32.365666163Z",
    "docker_version": "1.9.0-dev",
    "history": [
        {
            "created": "2015-10-31T22:22:54.690851953Z",
            "created_by": f"/bin/sh -c {ADD}",
        },
        {"created": "2015-10-31T22:22:55.613815829Z", "created_by": '/bin/sh -c #(nop) CMD ["sh"]'},
        {
            "created": "2015-11-04T23:06:30.934316144Z",
            "created_by": "/bin/sh -c #(nop) ENV derived=true",
            "empty_layer": True,
        },
        {
            "created": "2015-11-04T23:06:31.192097572Z",
            "created_by": "/bin/sh -c #(nop) ENV asdf=true",
            "empty_layer": True,
        },
        {
            "author": "Alyssa P. Hacker <alyspdev@example.com>",
            "created": "2015-11-04T23:06:32.083868454Z",
            "created_by": "/bin/sh -c dd if=/dev/zero of=/file bs=1024 count=1024",
        },
        {
            "created": "2015-11-04T23:06:32.365666163Z",
            "created_by": f"/bin/sh -c {RUN}",
            "empty_layer": True,
        },
    ],
    "os": "linux",
    "rootfs": {
        "diff_ids": [
            "sha256:c6f988f4874bb0add23a778f753c65efe992244e148a1d2ec2a8b664fb66bbd1",
            "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
            "sha256:13f53e08df5a220ab6d13c58b2bf83a59cbdc2e04d0a3f041ddf4b0ba4112d49",
        ],
        "type": "layers",
    },
}
# as it stands there, blanks and escapes too: the ID of the top is over these bytes
RAW_CONFIG = json.dumps(CONFIG, indent=4).replace("<", r"\u003c").replace(">", r"\u003e").encode()
LAYERS = [
    Digest("sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"),
    Digest("sha256:86e0e091d0da6bde2456dbb48306f3956bbeb2eae1b5b9a43045843f69fe4aaa"),
    Digest("sha256:b4ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"),
]
IDS = [
    "3690474eb5b4b26fdfbd89c6e159e8cc376ca76ef48032a30fa6aafd56337880",
    "9e3447ca24cb96d86ebd5960cb34d1299b07e0a0e03801d90b9969a2c187dd6e",
    "b449305a55a283538c4574856a8b701f2a3d5ec08ef8aec47f385f20339a4866",
    "178be37afc7c49e951abd75525dbe0871b62ad49402f037164ee6314f754599d",
    "74cf9c92699240efdba1903c2748ef57105d5bedc588084c4e88f3bb1c3ef0b0",
    "69e5c1bfadad697fdb6db59f6326648fa119e0c031a0eda33b8cfadcab54ba7f",
]


def test_X03_the_chain_of_a_newer_image_is_that_of_the_builder() -> None:
    links = chain(RAW_CONFIG, LAYERS)
    assert [link.image.id for link in links] == IDS
    assert [link.image.parent for link in links] == [None, *IDS[:-1]]
    assert [link.layer for link in links] == [LAYERS[0], LAYERS[1], None, None, LAYERS[2], None]


def test_X03_the_json_of_each_image_is_that_of_the_builder() -> None:
    raw = [link.image.raw.decode() for link in chain(RAW_CONFIG, LAYERS)]
    assert raw[0] == (
        f'{{"id":"{IDS[0]}","created":"2015-10-31T22:22:54.690851953Z","container_config":{{"Cmd":["/bin/sh -c #(nop) '
        'ADD file:a3bc1e842b69636f9df5256c49c5374fb4eef1e281fe3f282c65fb853ee171c5 in /"]}}'
    )
    assert raw[1] == (
        f'{{"id":"{IDS[1]}","parent":"{IDS[0]}","created":"2015-10-31T22:22:55.613815829Z",'
        r'"container_config":{"Cmd":["/bin/sh -c #(nop) CMD [\"sh\"]"]}}'
    )
    assert raw[2] == (
        f'{{"id":"{IDS[2]}","parent":"{IDS[1]}","created":"2015-11-04T23:06:30.934316144Z",'
        '"container_config":{"Cmd":["/bin/sh -c #(nop) ENV derived=true"]},"throwaway":true}'
    )
    assert raw[4] == (
        f'{{"id":"{IDS[4]}","parent":"{IDS[3]}","created":"2015-11-04T23:06:32.083868454Z","container_config":{{"Cmd":'
        r'["/bin/sh -c dd if=/dev/zero of=/file bs=1024 count=1024"]},"author":"Alyssa P. Hacker '
        r'\u003calyspdev@example.com\u003e"}'
    )
    top = {key: value for key, value in CONFIG.items() if key not in ("rootfs", "history")}
    wanted = json.dumps({**top, "id": IDS[5], "parent": IDS[4], "throwaway": True}, sort_keys=True)
    assert raw[5] == json.dumps(json.loads(wanted), separators=(",", ":"))


def test_X03_the_layer_of_a_step_without_one_is_an_empty_tar() -> None:
    assert Digest.of(bytes(1024)) == EMPTY_DIFF_ID
    # as Go compressed it in 2014, with a time of its own
    raw = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
    assert (Digest.of(raw), gzip.decompress(raw)) == (EMPTY_LAYER, bytes(1024))


def test_X03_a_config_without_a_fitting_history_has_a_step_for_each_layer() -> None:
    histories: list[object] = [None, [], 7, [{"empty_layer": True}], [{}], [{}] * 4]
    for history in histories:
        raw = json.dumps({"architecture": "amd64", "history": history}).encode()
        links = chain(raw, LAYERS)
        assert [link.layer for link in links] == LAYERS
        assert [json.loads(link.image.raw)["container_config"] for link in links[:2]] == [{"Cmd": [""]}] * 2
        assert links[0].image.created == "0001-01-01T00:00:00Z"
    with pytest.raises(Invalid, match="0 steps"):
        chain(b"{}", [])
    with pytest.raises(Invalid, match="1025 steps"):
        chain(b"{}", LAYERS[:1] * 1025)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2015-10-31T22:22:54Z", "2015-10-31T22:22:54Z"),
        ("2015-10-31T22:22:54.000Z", "2015-10-31T22:22:54Z"),
        ("2015-10-31T22:22:54.120+00:00", "2015-10-31T22:22:54.12Z"),
        ("2015-10-31T22:22:54.1234567899-07:00", "2015-10-31T22:22:54.123456789-07:00"),
        ("yesterday", "0001-01-01T00:00:00Z"),
        (None, "0001-01-01T00:00:00Z"),
        (7, "0001-01-01T00:00:00Z"),
    ],
)
def test_X03_times_are_written_as_go_does(text: object, written: str) -> None:
    raw = json.dumps({"history": [{"created": text}, {}]}).encode()
    assert chain(raw, LAYERS[:2])[0].image.created == written


# moby v1.9.1, image/fixtures
LAYER = Digest("sha256:31176893850e05d308cdbfef88877e460d50c8063883fb13eb5753097da6422a")
PARENT = Digest("sha256:ec3025ca8cc9bcab039e193e20ec647c2da3c53a74020f2ba611601f9b2c6c02")
FLAGS = ("AttachStdin", "AttachStdout", "AttachStderr")


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def before_1_9() -> bytes:
    """With the fields of 1.6 that 1.9 had no more, and those that say nothing."""

    def config(command: list[str] | None) -> dict[str, Any]:
        return {
            "Hostname": "03797203757d",
            "Domainname": "",
            "User": "",
            "Memory": 0,
            "MemorySwap": 0,
            "CpuShares": 0,
            "Cpuset": "",
            **dict.fromkeys(FLAGS, False),
            "PortSpecs": None,
            "ExposedPorts": None,
            "Tty": False,
            "OpenStdin": False,
            "StdinOnce": False,
            "Env": [
                "PATH=/go/bin:/usr/src/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "GOLANG_VERSION=1.4.1",
                "GOPATH=/go",
            ],
            "Cmd": command,
            "Image": PARENT.encoded,
            "Volumes": None,
            "WorkingDir": "/go",
            "Entrypoint": ["/go/bin/dnsdock"],
            "NetworkDisabled": False,
            "MacAddress": "",
            "OnBuild": [],
            "Labels": {},
        }

    return compact(
        {
            "id": "3b38edc92eb7c074812e217b41a6ade66888531009d6286a6f5f36a06f9841b9",
            "parent": PARENT.encoded,
            "created": "2015-08-19T16:49:11.368300679Z",
            "container": "d91be3479d5b1e84b0c00d18eea9dc777ca0ad166d51174b24283e2e6f104253",
            "container_config": config(["/bin/sh", "-c", '#(nop) ENTRYPOINT ["/go/bin/dnsdock"]']),
            "docker_version": "1.6.2",
            "config": config(None),
            "architecture": "amd64",
            "os": "linux",
            "Size": 0,
        }
    )


def since_1_9() -> bytes:
    def config(command: list[str] | None) -> dict[str, Any]:
        return {
            "Hostname": "fb1f7270da95",
            "Domainname": "",
            "User": "",
            **dict.fromkeys(FLAGS, False),
            "Tty": False,
            "OpenStdin": False,
            "StdinOnce": False,
            "Env": ["foo=bar"],
            "Cmd": command,
            "Image": "361a94d06b2b781b2f1ee6c72e1cbbfbbd032a103e26a3db75b431743829ae4f",
            "Volumes": None,
            "VolumeDriver": "",
            "WorkingDir": "",
            "Entrypoint": None,
            "OnBuild": None,
            "Labels": None,
        }

    added = "#(nop) ADD file:11998b2a4d664a75cd0c3f4e4cb1837434e0f997ba157a0ac1d3c68a07aa2f4f in /"
    return compact(
        {
            "id": "8dfb96b5d09e6cf6f376d81f1e2770ee5ede309f9bd9e079688c9782649ab326",
            "parent": "361a94d06b2b781b2f1ee6c72e1cbbfbbd032a103e26a3db75b431743829ae4f",
            "created": "2015-09-08T21:30:30.807853054Z",
            "container": "fb1f7270da9519308361b99dc8e0d30f12c24dfd28537c2337ece995ac853a16",
            "container_config": config(["/bin/sh", "-c", added]),
            "docker_version": "1.9.0-dev",
            "config": config(None),
            "architecture": "amd64",
            "os": "linux",
        }
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (before_1_9(), "sha256:fd6ebfedda8ea140a9380767e15bd32c6e899303cfe34bc4580c931f2f816f89"),
        (since_1_9(), "sha256:f2722a8ec6926e02fa9f2674072cbc2a25cf0f449f27350f613cd843b02c9105"),
    ],
)
def test_X03_strong_ids_are_those_of_docker_1_9(raw: bytes, expected: str) -> None:
    assert strong_id(raw, LAYER, PARENT) == expected


def test_X03_strong_ids_build_on_each_other() -> None:
    base = strong_id(since_1_9(), LAYER)
    assert strong_ids([(since_1_9(), LAYER), (before_1_9(), LAYER)]) == [
        base.encoded,
        strong_id(before_1_9(), LAYER, base).encoded,
    ]


def test_X03_since_1_8_3_the_json_is_kept_and_before_it_made_anew() -> None:
    fields = {"id": ID, "Size": 5, "config": {"b": 1.50, "a": "<"}, "new": [1, {}]}
    new = strong_config(compact({**fields, "docker_version": "1.8.3"}), LAYER)
    assert new == (
        rb'{"config":{"b":1.5,"a":"\u003c"},"docker_version":"1.8.3","layer_id":"%s","new":[1,{}]}' % LAYER.encode()
    )
    old = json.loads(strong_config(compact({**fields, "docker_version": "1.8.2"}), LAYER))
    assert sorted(old) == ["config", "container_config", "created", "docker_version", "layer_id"]
    assert old["created"] == "0001-01-01T00:00:00Z"
    assert old["config"] == old["container_config"]


def test_X03_old_fields_are_read_as_go_reads_them() -> None:
    config: dict[str, object] = {
        "Cmd": "one",
        "Env": ["a=b", None],
        "Volumes": {"/v": {}, "/a": None},
        "Labels": {"z": None, "a": "b"},
    }
    config |= {"ExposedPorts": {"80/tcp": {}}, "NetworkDisabled": True, "StopSignal": "TERM", "Entrypoint": []}
    raw = strong_config(compact({"id": ID, "config": config, "layer_id": "x", "parent_id": "y"}), LAYER)
    found = json.loads(raw)
    assert (found["layer_id"], found["parent_id"]) == (LAYER, "y")
    assert json.dumps(found["config"]) == (
        '{"Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false, '
        '"AttachStderr": false, "ExposedPorts": {"80/tcp": {}}, "Tty": false, "OpenStdin": false, "StdinOnce": false, '
        '"Env": ["a=b", ""], "Cmd": ["one"], "Image": "", "Volumes": {"/a": {}, "/v": {}}, "WorkingDir": "", '
        '"Entrypoint": [], "NetworkDisabled": true, "OnBuild": null, "Labels": {"a": "b", "z": ""}, '
        '"StopSignal": "TERM"}'
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"created": "yesterday"},
        {"created": 7},
        {"author": 7},
        {"config": []},
        {"config": {"Env": "a"}},
        {"config": {"Tty": 1}},
        {"config": {"Cmd": [7]}},
        {"config": {"Volumes": []}},
        {"config": {"Volumes": {"/v": 1}}},
        {"config": {"Labels": {"a": 1}}},
        {"id": "x"},
    ],
)
def test_X03_json_that_docker_could_not_read_has_no_strong_id(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        strong_config(compact({"id": ID, **fields}), LAYER)


@given(st.dictionaries(st.sampled_from(["id", "created", "config", "docker_version"]), st.text(max_size=5)))
def test_X03_only_our_errors_leave_whatever_the_fields(fields: dict[str, str]) -> None:
    with suppress(Error):
        strong_config(compact({"id": ID, **fields}), LAYER)


@given(st.binary(max_size=30))
def test_X03_only_our_errors_leave_whatever_the_bytes(raw: bytes) -> None:
    with suppress(Error):
        assert hashlib.sha256(chain(raw, LAYERS)[-1].image.raw).digest()
