"""Links that cannot be guessed, changed or prolonged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.blobs.urls import BlobUrl, Signer
from proxy.errors import BlobStoreFailed

KEY = "a signing key of at least 32 characters"
SIGNER = Signer(KEY, "/nowhere")
LINK = SIGNER.new_url("web", "image/png", 1_900_000_000)


def query_of(link: BlobUrl, signer: Signer = SIGNER) -> dict[str, str]:
    """Take the query of a link's URL apart."""
    return dict(part.split("=") for part in signer.query(link).split("&"))


def test_a_link_opens_as_what_it_was() -> None:
    assert SIGNER.verify(LINK.name, query_of(LINK)) == LINK


def test_no_two_blobs_have_the_same_id() -> None:
    ids = {SIGNER.new_url("web", "image/png", 1).blob_id for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", it) for it in ids)


def test_an_image_by_its_content_has_an_id_of_its_own_for_each_key() -> None:
    links = [SIGNER.new_url("web", "image/png", expires, "digest") for expires in (1, 2)]
    assert links[0].path == links[1].path
    other = Signer(KEY + "!", "/nowhere").new_url("web", "image/png", 1, "digest")
    assert (
        len(
            {
                links[0].blob_id,
                other.blob_id,
                SIGNER.new_url("web", "image/png", 1, "other").blob_id,
            }
        )
        == 3
    )
    assert SIGNER.verify(links[0].name, query_of(links[0])) == links[0]


def test_an_owner_is_the_same_for_a_caller_and_does_not_tell_the_name() -> None:
    again, other = (SIGNER.new_url(name, "image/gif", 1) for name in ("web", "batch"))
    elsewhere = Signer(KEY + "!", "/nowhere").new_url("web", "image/gif", 1)
    assert LINK.owner == again.owner
    assert len({LINK.owner, other.owner, elsewhere.owner}) == 3
    assert LINK.path == f"{LINK.owner}/{LINK.blob_id}.png"


def test_no_digit_of_a_signature_can_be_changed() -> None:
    for at in range(80):
        query = query_of(LINK)
        digit = "1" if query["sig"][at] == "0" else "0"
        query["sig"] = query["sig"][:at] + digit + query["sig"][at + 1 :]
        assert SIGNER.verify(LINK.name, query) is None, at


def test_nothing_that_is_signed_can_be_changed() -> None:
    query, other = query_of(LINK), SIGNER.new_url("web", "image/png", LINK.expires)
    assert SIGNER.verify(other.name, query) is None
    assert SIGNER.verify(LINK.name.replace("png", "svg"), query) is None
    assert SIGNER.verify(LINK.name, {**query, "expires": str(LINK.expires + 1)}) is None
    assert Signer(KEY + "!", "/nowhere").verify(LINK.name, query) is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (LINK.name, {"sig": ""}),
        (LINK.name, {"expires": ""}),
        (LINK.name, {"expires": f"0{LINK.expires}"}),
        (LINK.name, {"expires": f"+{LINK.expires}"}),
        (LINK.name, {"expires": f"{LINK.expires}.0"}),
        (LINK.name, {"expires": "٣"}),
        (LINK.name, {"sig": query_of(LINK)["sig"].upper()}),
        (LINK.name, {"sig": query_of(LINK)["sig"] + "\n"}),
        (LINK.name.upper(), {}),
        (LINK.name + "\n", {}),
        (LINK.blob_id, {}),
        ("../" + LINK.name, {}),
        (LINK.path, {}),
        ("", {}),
    ],
    # A link's name is another one in each process, and several may share the tests.
    ids=map(str, range(14)),
)
def test_what_has_another_form_is_not_opened(name: str, change: dict[str, str]) -> None:
    assert SIGNER.verify(name, {**query_of(LINK), **change}) is None


@given(st.text(), st.dictionaries(st.sampled_from(["expires", "sig", "x"]), st.text()))
def test_no_text_makes_it_fail(name: str, query: dict[str, str]) -> None:
    assert SIGNER.verify(name, query) is None


def test_a_key_of_its_own_is_kept_for_its_owners_eyes(tmp_path: Path) -> None:
    link = Signer("", str(tmp_path)).new_url("web", "image/png", 1)
    query = query_of(link, Signer("", str(tmp_path)))
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert Signer("", str(tmp_path)).verify(link.name, query) == link
    file.unlink()
    assert Signer("", str(tmp_path)).verify(link.name, query) is None


def test_nothing_is_made_before_something_is_signed(tmp_path: Path) -> None:
    assert Signer("", str(tmp_path)).verify("x.png", {}) is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_hold_a_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BlobStoreFailed, match=r"blobs\.signing_key"):
        Signer("", str(tmp_path / "file")).new_url("web", "image/png", 1)
