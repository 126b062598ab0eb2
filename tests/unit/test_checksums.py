"""SHA256SUMS as any tool writes them."""

import hashlib
import shutil
import subprocess

import pytest
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import mismatches, recorded

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAMES = ("a file", "b*", "(c) = d", "new\nline", "back\\slash", " spaces ", "café")
FORMS = {
    "of sha256sum": "{digest}  {name}\n",
    "binary": "{digest} *{name}\n",
    "below the folder": "{digest}  ./{name}\n",
    "capitals": "{capitals}  {name}\n",
    "indented": "  {digest}  {name}\n",
    "one space": "{digest} {name}\n",
    "a tab": "{digest}\t {name}\n",
    "no last line break": "{digest}  {name}",
    "Windows": "{digest}  {name}\r\n",
    "comments and blank lines": "# of a tool\n\n{digest}  {name}\n\n",
    "BSD": "SHA256 ({name}) = {digest}\n",
    "OpenSSL": "SHA256({name})= {digest}\n",
    "BSD, capitals": "SHA256 ({name}) = {capitals}\n",
}


def escaped(name):
    plain = name.replace("\\", "\\\\").replace("\n", "\\n")
    return ("\\" if plain != name else "", plain)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_form_that_sha256sum_reads_is_read(tmp_path, form, name):
    if form == "one space" and name[0] in " *":
        pytest.skip("sha256sum takes the space or star for a mark, too")
    mark, plain = escaped(name)
    line = FORMS[form].format(name=plain, digest=DIGEST, capitals=DIGEST.upper())
    at = line.index("S" if "SHA256" in line else (DIGEST if DIGEST in line else DIGEST.upper()))
    (tmp_path / "SHA256SUMS").write_bytes((line[:at] + mark + line[at:]).encode())
    (tmp_path / name).write_bytes(CONTENT)
    assert mismatches(tmp_path) == []
    assert recorded(tmp_path / name) == DIGEST
    (tmp_path / name).write_bytes(CONTENT + b"!")
    assert mismatches(tmp_path) == [name]


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")
def test_what_sha256sum_itself_writes_is_read(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_bytes(CONTENT)
    for option in ("--text", "--binary", "--tag"):
        made = subprocess.run(["sha256sum", option, *NAMES], cwd=tmp_path, capture_output=True, check=True)
        (tmp_path / "SHA256SUMS").write_bytes(made.stdout)
        assert all(recorded(tmp_path / name) == DIGEST for name in NAMES)


@pytest.mark.parametrize(
    "line",
    [
        "<html>",
        DIGEST,
        DIGEST[:-1] + "  a",
        "0" * 32 + "  a",
        f"MD5 (a) = {'0' * 32}",
        DIGEST[:-1] + "g  a",
        DIGEST + "a",
    ],
)
def test_a_line_that_is_none_is_told_with_its_number(tmp_path, line):
    (tmp_path / "a").write_bytes(CONTENT)
    (tmp_path / "SHA256SUMS").write_text(f"# sums\n{DIGEST}  a\n{line}\n")
    for read in (lambda: mismatches(tmp_path), lambda: recorded(tmp_path / "a")):
        with pytest.raises(
            UserError, match=r"SHA256SUMS, line 3: .* is no line of a file of SHA-256 checksums"
        ) as raised:
            read()
        assert "\n" not in str(raised.value)


def test_a_file_with_two_checksums_is_told(tmp_path):
    (tmp_path / "SHA256SUMS").write_text(f"{DIGEST}  a\n{DIGEST.upper()} *./a\n")
    (tmp_path / "a").write_bytes(CONTENT)
    assert mismatches(tmp_path) == []
    (tmp_path / "SHA256SUMS").write_text(f"{DIGEST}  a\n{'0' * 64}  ./a\n")
    with pytest.raises(UserError, match="line 2: a is listed twice, with two checksums"):
        mismatches(tmp_path)
