"""The zip that is written while it is sent."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from dti_service import archive
from dti_service.archive import Archive, ArchiveChanged, Member, members


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "results"
    (root / "clusters" / "cluster0").mkdir(parents=True)
    (root / "clusters" / "cluster0" / "0_raw.png").write_bytes(os.urandom(3000))
    (root / "metrics.json").write_text('{"loss": 1}')
    (root / "naïve – 図.csv").write_text("a,b\n")
    (root / "empty.txt").write_text("")
    (root / "large.bin").write_bytes(os.urandom(3 * archive.CHUNK + 17))
    (root / ".metrics.json.tmp").write_text("half")
    (root / "link.txt").symlink_to("/etc/hostname")
    return root


def test_members_are_the_visible_files_in_order(tree: Path) -> None:
    names = [member.name for member in members(tree)]
    assert names == [
        "clusters/cluster0/0_raw.png",
        "empty.txt",
        "large.bin",
        "metrics.json",
        "naïve – 図.csv",
    ]


def test_rename_maps_and_leaves_out(tree: Path) -> None:
    names = [m.name for m in members(tree, lambda name: None if name.endswith(".bin") else f"a/{name}")]
    assert "a/metrics.json" in names
    assert not any(name.endswith(".bin") for name in names)


def test_the_zip_holds_the_files_and_has_the_length_that_was_announced(tree: Path) -> None:
    source = Archive(members(tree), exact=True)
    data = b"".join(source.chunks())
    assert len(data) == source.size
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == [member.name for member in source.members]
        for member in source.members:
            assert opened.read(member.name) == member.path.read_bytes()


@pytest.mark.parametrize("part", [(0, 1), (10, 4000), (3000, None), (5, 5), (-40, None)])
def test_any_part_of_it_is_the_same_bytes(tree: Path, part: tuple[int, int | None]) -> None:
    source = Archive(members(tree), exact=True)
    whole = b"".join(source.chunks())
    start, end = (len(whole) + part[0] if part[0] < 0 else part[0]), part[1]
    assert b"".join(source.chunks(start, end)) == whole[start:end]


def test_pieces_are_small(tree: Path) -> None:
    assert max(len(chunk) for chunk in Archive(members(tree), exact=True).chunks()) <= 2 * archive.CHUNK


def test_nothing_to_pack_is_a_valid_empty_zip(tmp_path: Path) -> None:
    source = Archive(members(tmp_path / "absent"), exact=True)
    data = b"".join(source.chunks())
    assert len(data) == source.size
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == []


def test_a_final_file_that_changes_is_an_error_not_a_broken_zip(tree: Path) -> None:
    source = Archive(members(tree), exact=True)
    with (tree / "metrics.json").open("a") as stream:
        stream.write("more")
    with pytest.raises(ArchiveChanged, match=r"metrics\.json has changed"):
        b"".join(source.chunks())


def test_while_files_still_change_each_is_taken_as_it_is(tree: Path) -> None:
    source = Archive(members(tree), exact=False)
    assert source.size is None
    (tree / "metrics.json").write_text('{"loss": 0.5, "more": true}')
    (tree / "empty.txt").unlink()
    with zipfile.ZipFile(io.BytesIO(b"".join(source.chunks()))) as opened:
        assert opened.testzip() is None
        assert opened.read("metrics.json") == b'{"loss": 0.5, "more": true}'
        assert "empty.txt" not in opened.namelist()


def test_the_etag_names_the_content(tree: Path) -> None:
    before = Archive(members(tree), exact=True).etag
    assert Archive(members(tree), exact=True).etag == before
    os.utime(tree / "metrics.json", ns=(1, 1))
    assert Archive(members(tree), exact=True).etag != before


def test_sizes_beyond_four_gigabytes(tmp_path: Path) -> None:
    """A sparse file stands for the data, which need not be read to know where the records are."""
    path = tmp_path / "sparse.bin"
    with path.open("wb") as stream:
        stream.truncate(0x1_0000_0010)
    (tmp_path / "z.txt").write_text("behind four gigabytes")
    found = members(tmp_path)
    source = Archive(found, exact=True)
    directory = b""
    offset = 0
    for member in found:
        directory += archive._directory_entry(member, member.size, 0, offset)
        offset += len(archive._local_header(member, member.size, 0)) + member.size
    end = archive._end(len(found), len(directory), offset)
    assert source.size == offset + len(directory) + len(end)
    # Python's reader finds the members through the large records at the end.
    with (tmp_path / "all.zip").open("wb") as stream:
        stream.write(archive._local_header(found[0], found[0].size, 0))
        stream.seek(offset)
        stream.write(directory + end)
    with zipfile.ZipFile(tmp_path / "all.zip") as opened:
        assert [(info.filename, info.file_size) for info in opened.infolist()] == [
            ("sparse.bin", 0x1_0000_0010),
            ("z.txt", 21),
        ]
        assert opened.getinfo("z.txt").header_offset > 0xFFFFFFFF


def test_more_than_65535_members(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("1")
    many = [Member(f"{i:06}.txt", path, 1, 0) for i in range(66_000)]
    source = Archive(many, exact=True)
    data = b"".join(source.chunks())
    assert len(data) == source.size
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 66_000
