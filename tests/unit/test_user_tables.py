"""Tables of users: a line that does not fit the first one is told with its number, and never read as something else."""

import pytest
from nepotism.data.user_tables import positive, read_user_csv
from nepotism.plan.rates import read_rates
from nepotism.runtime.errors import UserError

COLUMNS = ("file", "text")


def read(path, content, columns=COLUMNS):
    (path / "table.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_user_csv(path / "table.csv", columns)


def test_values_are_read_as_they_were_meant(tmp_path):
    content = '\ufefffile, text ,other\r\na.png,"a cat, asleep",x\r\n\r\nb.png, "a ""big"" dog",\r\nc.png,5" of snow ,'
    rows, problems = read(tmp_path, content)
    assert problems == []
    assert [(number, row["file"], row["text"]) for number, row in rows] == [
        (2, "a.png", "a cat, asleep"),
        (4, "b.png", 'a "big" dog'),
        (5, "c.png", '5" of snow'),
    ]
    # Old Macs end lines so; characters that only some programs take for line ends stay in their text.
    assert read(tmp_path, "file,text\ra.png,one\u2028two\r")[0] == [(2, {"file": "a.png", "text": "one\u2028two"})]
    assert read(tmp_path, "file,text\ncafe\u0301.png,x\n")[0][0][1]["file"] == "caf\u00e9.png"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a.png,a cat, asleep", "3 values for 2 columns; a text with a comma stands in quotes"),
        ("a.png", "1 values for 2 columns"),
        ('a.png,"a cat', "a quote is opened and not closed on the same line"),
        ('a.png,"a "big" cat"', "quotes that do not enclose a whole value"),
        ("a.png;a cat", "1 values for 2 columns"),
        ("a.png,a\0cat", "NUL characters"),
    ],
)
def test_a_line_that_does_not_fit_is_told_and_the_others_are_read(tmp_path, line, told):
    rows, problems = read(tmp_path, f"file,text\nb.png,x\n{line}\nc.png,y\n")
    assert [row["file"] for _, row in rows] == ["b.png", "c.png"]
    (problem,) = problems
    assert problem.startswith("table.csv line 3: ")
    assert told in problem


def test_a_quote_that_is_never_closed_swallows_no_other_line(tmp_path):
    lines = [f"{number}.png,a cat" for number in range(10)]
    lines[4] = '4.png,"a cat'
    rows, problems = read(tmp_path, "file,text\n" + "\n".join(lines))
    assert len(rows) == 9
    assert [problem.split(": ")[0] for problem in problems] == ["table.csv line 6"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("file;text\na.png;x\n", "line 1: its columns are separated by semicolons; save it with commas"),
        ("file\ttext\na.png\tx\n", "line 1: its columns are separated by tabs; save it with commas"),
        ("sep=;\nfile;text\n", "separated by semicolons"),
        ("file,text,text\na.png,x,y\n", "columns that stand there twice: text"),
        (",file,text\n0,a.png,x\n", "column 1 has no name"),
        ("file,caption\na.png,x\n", "missing columns text; its first line has: file, caption"),
        ("", "missing columns file, text; its first line has: nothing"),
        ('file,"text\na.png,x\n', "line 1: a quote is opened"),
        ("file,text\na.png,x\nb.png,caf\u00e9\n".encode("cp1252"), r"not a CSV file in UTF-8 \(line 3: .* 0xe9\)"),
        ("file,text\na.png,x\n".encode("utf-16"), r"not a CSV file in UTF-8 \(line 1"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer"),
    ],
)
def test_a_table_that_is_none_is_told(tmp_path, content, told):
    with pytest.raises(UserError, match=rf"table\.csv.*{told}"):
        read(tmp_path, content)


def test_a_table_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="nowhere.csv: it cannot be read"):
        read_user_csv(tmp_path / "nowhere.csv", COLUMNS)


def test_numbers_are_whole_matches_of_plain_forms():
    assert [positive(text) for text in ("3", "2.5", "1e3", "4.0E-2")] == [3, 2.5, 1000, 0.04]
    wrong = ("", "0", "-1", "nan", "inf", "1_000", "2,5", "3 GB", "\u00b2", "1e999", " 3")
    assert [positive(text) for text in wrong] == [None] * len(wrong)


def test_wrong_speeds_are_told_together_with_their_lines(tmp_path):
    header = "device,parameters,resolution,precision,train_per_second,passes_per_second,job_seconds,measured\n"
    good = "H100,866,512,fp32/fp16,10,20,30,today\n"
    path = tmp_path / "rates.csv"
    path.write_text(header + good)
    (rate,) = read_rates(path)
    assert (rate.device, rate.resolution, rate.train_per_second) == ("H100", 512, 10.0)
    path.write_text(
        header + good + good.replace("512", "512.5") + good.replace(",10,", ",0,") + good.replace("today", "to,day")
    )
    with pytest.raises(UserError) as caught:
        read_rates(path)
    for part in (
        "rates.csv line 3: column resolution has '512.5'", "rates.csv line 4: column train_per_second has '0'",
        "rates.csv line 5: 9 values for 8 columns",
    ):  # fmt: skip
        assert part in str(caught.value)
