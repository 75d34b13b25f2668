from __future__ import annotations

import hashlib
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Invalid
from orlop.model.digest import Digest

HEX = "0123456789abcdef" * 4


@given(st.binary(max_size=100), st.sampled_from(["sha256", "sha512"]))
def test_PA16_a_digest_is_its_own_text(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert digest == Digest(str(digest)) == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert (digest.algorithm, digest.encoded) == (algorithm, digest[7:])
    hasher = digest.hasher()
    hasher.update(content)
    assert hasher.hexdigest() == digest.encoded
    assert pickle.loads(pickle.dumps(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        HEX,
        f":{HEX}",
        "sha256:../../x",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha512:{HEX}",
        f"sha1:{HEX[:40]}",
        f"md5:{HEX[:32]}",
        f"a+b:{HEX}",
        f"sha256+b64:{HEX}",
        "sha256:" + "\u0660" * 64,
        f"sha256:{HEX[:-1]}g",
        f"sha256::{HEX}",
        f"sha256:/{HEX[:-1]}",
        None,
        7,
        b"sha256:" + HEX.encode(),
        ["sha256", HEX],
    ],
)
def test_PA16_what_is_no_digest_is_refused(text: object) -> None:
    with pytest.raises(Invalid, match="digest: expected"):
        Digest(text)


@given(st.text(max_size=80) | st.text("sha256:/.0af", max_size=90))
def test_PA16_no_accepted_text_can_leave_a_directory(text: str) -> None:
    try:
        digest = Digest(text)
    except Invalid:
        return
    assert re.fullmatch(r"sha(256|512):[0-9a-f]+", digest)
