"""The same pairs from every kind of file: delimiters, gzip, folders with splits, data sets of the Hub."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from layout_words import groups
from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.store.formats import read_file
from preflab.store.formats.row_reading import numbered_rows
from preflab.store.transfer import export_from
from preflab.store.workspace import Workspace

ROWS = [
    {"prompt": "The sky; is", "chosen": " blue,\nof course", "rejected": ' "green"'},
    {"prompt": "Grass is", "chosen": "'green", "rejected": "=1+1"},
]
EXPECTED = [
    {"prompt": row["prompt"], "ranks": {row["chosen"]: 1, row["rejected"]: 2},
     "pairs": {(row["chosen"], row["rejected"]): 1.0}}
    for row in ROWS
]  # fmt: skip


def table(path: Path, delimiter: str, rows: list[dict[str, Any]] = ROWS, first: str = "") -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write(first)
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def lines(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def zipped(path: Path) -> Path:
    target = path.with_name(f"{path.name}.gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


@pytest.mark.parametrize(
    ("name", "delimiter", "said"),
    [
        ("p.csv", ",", []),
        ("p.csv", ";", ["the cells are separated by semicolons"]),
        ("p.csv", "\t", ["the cells are separated by tabs"]),
        ("p.csv", "|", ["the cells are separated by bars"]),
        ("p.tsv", "\t", []),
        ("p.tsv", ",", ["the cells are separated by commas"]),
        ("P.TSV", "\t", []),
    ],
)
def test_delimiters_are_found_and_said(tmp_path: Path, name: str, delimiter: str, said: list[str]) -> None:
    file = table(tmp_path / name, delimiter)
    for each in (file, zipped(file)):
        found = read_file(each)
        assert groups(found) == EXPECTED
        assert found.notes == said
        assert found.unit == "line"
    assert found.prompts[1].source.endswith("line 4"), "the first row has two lines"


def test_delimiter_declared_by_excels_first_line(tmp_path: Path) -> None:
    found = read_file(table(tmp_path / "p.csv", ";", first="sep=;\n"))
    assert groups(found) == EXPECTED
    assert [p.source for p in found.prompts] == ["p.csv, line 3", "p.csv, line 5"]


@pytest.mark.parametrize(("delimiter", "ending"), [(",", ".csv"), (";", ".csv"), ("\t", ".tsv")])
def test_a_table_named_jsonl_is_named_as_such(tmp_path: Path, delimiter: str, ending: str) -> None:
    with pytest.raises(PreflabError, match=f"looks like {ending[1:].upper()}, with the columns prompt, ") as refused:
        list(numbered_rows(table(tmp_path / "pairs.jsonl", delimiter)))
    assert refused.value.do == f"name it {ending}"


@pytest.mark.parametrize(
    "text", ["Where is it, please?\nHere, I think. Or there, or not.\n", "prompt,chosen\n", "{a, b}\n{c, d}\n"]
)
def test_other_text_named_jsonl_is_refused_by_line(tmp_path: Path, text: str) -> None:
    """Prose with commas, a header alone, broken JSON."""
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    assert "not JSON" in str(next(iter(numbered_rows(tmp_path / "rows.jsonl"))).row)


def test_rows_of_empty_cells_are_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("prompt,chosen,rejected,,\r\na,b,c,,\r\n,,,,\r\nd,e,f,,\r\n,,,,\r\n", encoding="utf-8")
    assert [numbered.line for numbered in numbered_rows(file)] == [2, 4]
    assert [group["prompt"] for group in groups(read_file(file))] == ["a", "d"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("p.csv", "prompt,chosen\n".encode("utf-16"), "UTF-16, as Excel's Unicode text"),
        ("p.jsonl", '{"prompt": "a"}\n'.encode("utf-16"), "UTF-16, as Excel's Unicode text"),
        *((name, data.encode(code), code[:6].upper())
          for code in ("utf-16-le", "utf-16-be", "utf-32-le")  # without a mark at the beginning
          for name, data in (("p.csv", "prompt\na\n"), ("p.jsonl", '{"prompt": "a"}'), ("p.txt", '{"prompt": "a"}'),
                             ("p.json", '[{"prompt": "a"}]'))),
        ("p.txt", '{"prompt": "a"}\n'.encode("utf-16"), "UTF-16, as Excel's Unicode text"),
        ("p.jsonl", gzip.compress(b'{"prompt": "a"}\n', mtime=0), "gzipped: end its name in .gz"),
        ("p.csv", gzip.compress(b"prompt\na\n", mtime=0), "gzipped: end its name in .gz"),
        ("p.csv", b"PK\x03\x04\x14\x00\x06\x00\x08\xff", "an Excel file"),
        ("p.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS"),
        ("p.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS"),
        ("p.json", b'{\n "prompt": "a"\n}\n', "not JSON"),
    ],
    ids=range(21),
)  # fmt: skip
def test_a_file_of_another_kind_than_its_name_says(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PreflabError) as caught:
        read_file(tmp_path / name)
    assert said in caught.value.found
    assert "\0" not in str(caught.value), "no zeros on a terminal"
    if said == "not JSON":
        assert caught.value.do == "write the rows as one list [{…}, {…}], or each on its line"


@pytest.mark.parametrize("wrapped", [{"data": ROWS, "version": 1}, {"features": [], "rows": [{"row": ROWS[0]}]}])
def test_rows_inside_an_object_are_refused_with_advice(tmp_path: Path, wrapped: dict[str, Any]) -> None:
    (tmp_path / "p.json").write_text(json.dumps(wrapped), encoding="utf-8")
    with pytest.raises(PreflabError) as caught:
        read_file(tmp_path / "p.json")
    name = "data" if "data" in wrapped else "rows"
    assert caught.value.do == f"if {name!r} holds the rows, write that list to a file of its own"


def test_an_ambiguous_delimiter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt;chosen|rejected\na;b|c\n")
    with pytest.raises(PreflabError, match="semicolons and bars both split the header into 2 columns"):
        read_file(tmp_path / "p.csv")
    (tmp_path / "one.csv").write_text("prompt\nHello; you | there\n")
    assert [p.text for p in read_file(tmp_path / "one.csv").prompts] == ["Hello; you | there"]
    (tmp_path / "two.csv").write_text("prompt,topic;x\na,b\n")
    assert [p.columns for p in read_file(tmp_path / "two.csv").prompts] == [{"topic;x": "b"}]


def test_a_header_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,chosen,chosen\na,b,c\n")
    with pytest.raises(PreflabError, match="the column 'chosen' is twice in the header"):
        read_file(tmp_path / "p.csv")
    (tmp_path / "q.csv").write_text("prompt,topic\na,b\nprompt,topic\nc,d\n")
    with pytest.raises(PreflabError, match="line 3: the header again"):
        read_file(tmp_path / "q.csv")


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ('{"prompt": "Q?", "chosen": "A", "rejected": "B", "chosen": "C"}', "chosen"),
        ('{"prompt": "Q?", "chosen": "A", "rejected": "B", "rejected": "B"}', "rejected"),
        (
            '{"prompt": "Q?", "chosen": [{"role": "assistant", "content": "A", "content": "C"}], "rejected": "B"}',
            "content",
        ),
    ],
)
def test_a_key_twice_in_one_object_is_refused(tmp_path: Path, row: str, key: str) -> None:
    good = json.dumps(ROWS[0])
    said = f"the key '{key}' twice in one object"
    file = tmp_path / "p.jsonl"
    file.write_text(f"{good}\n{row}\n")
    with pytest.raises(PreflabError, match=f"line 2: {said}"):
        read_file(file)
    assert groups(read_file(file, skip_bad=True)) == EXPECTED[:1]
    listed = tmp_path / "p.json"
    listed.write_text(f"[{good}, {row}]")
    with pytest.raises(PreflabError, match=f"item 2: {said}"):
        read_file(listed)


def test_a_key_twice_in_the_json_of_a_cell_is_refused(tmp_path: Path) -> None:
    cell = '[{"role": "assistant", "content": "A", "content": "C"}]'
    file = table(tmp_path / "p.csv", ",", [{"prompt": "Q?", "chosen": cell, "rejected": "B"}])
    with pytest.raises(PreflabError, match="line 2: the column 'chosen' holds turns in a text"):
        read_file(file)
    file = table(tmp_path / "p.csv", ",", [{"prompt": "Q?", "completion": "A", "tools": '{"name": "a", "name": "b"}'}])
    with pytest.raises(PreflabError, match="line 2: the column 'tools'"):
        read_file(file)


def test_an_apostrophe_before_a_formula_is_removed(tmp_path: Path) -> None:
    rows = [{"prompt": "'=1+1"}, {"prompt": "''-2"}, {"prompt": "'quoted'"}, {"prompt": "''twice''"}]
    found = read_file(table(tmp_path / "p.csv", ",", rows))
    assert [p.text for p in found.prompts] == ["=1+1", "'-2", "'quoted'", "''twice''"]
    assert found.notes == ["an apostrophe before a formula was taken from 2 cells"]
    assert [p.text for p in read_file(lines(tmp_path / "p.jsonl", rows)).prompts] == [r["prompt"] for r in rows]


@pytest.mark.parametrize(
    "text", ["=1", "\n=1", " \r\n +1", "\u3000-1", "＝1", "\n＠SUM", "'＝1", "''\n=1", "\tx", "\nx", "'x"]
)
def test_formulas_in_cells_are_escaped_and_restored(tmp_path: Path, text: str) -> None:
    with Workspace.open(tmp_path / "ws", create=True) as workspace:
        workspace.put([Prompt.make(text=text, columns={"topic": text})])
        export_from(workspace, tmp_path / "p.csv", "prompts")
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        cell = next(csv.DictReader(file))["topic"]
    assert cell.lstrip().startswith("'") or cell.strip()[0] == "x"
    (found,) = read_file(tmp_path / "p.csv").prompts
    assert (found.text, found.columns) == (text, {"topic": text})


def test_conversations_in_cells_are_json(tmp_path: Path) -> None:
    user, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    rows = [{"messages": json.dumps([user, answer]), "tools": "[]", "system": ""}]
    found = read_file(table(tmp_path / "p.csv", ",", rows))
    assert (found.format, found.prompts[0].shown, found.completions[0].text) == ("demonstrations", "user: Hi", "Hello")
    rows = [{"prompt": '[{"a": 1}] is JSON', "completion": '[{"a": 1}]'}]
    found = read_file(table(tmp_path / "q.csv", ",", rows))
    assert (found.prompts[0].text, found.completions[0].text) == ('[{"a": 1}] is JSON', '[{"a": 1}]')


def test_lines_and_lists_under_other_names(tmp_path: Path) -> None:
    files = [lines(tmp_path / name) for name in ("a.jsonl", "b.ndjson", "c.json", "d.txt", "E.JSONL")]
    for name in ("f.json", "g.txt"):
        (tmp_path / name).write_text(json.dumps(ROWS, indent=1))
        files.append(tmp_path / name)
    for file in [*files, *map(zipped, files)]:
        found = read_file(file)
        assert groups(found) == EXPECTED, file.name
        assert found.unit == ("item" if file.name[0] in "fg" else "line")
    (tmp_path / "story.txt").write_text("Once upon a time\n")
    with pytest.raises(PreflabError, match="a file of kind '.txt'"):
        read_file(tmp_path / "story.txt")
    (tmp_path / "x.parquet.gz").write_bytes(b"")
    with pytest.raises(PreflabError, match="a file of kind '.gz'"):
        read_file(tmp_path / "x.parquet.gz")
    torn = zipped(files[0]).read_bytes()[:-9]
    (tmp_path / "torn.jsonl.gz").write_bytes(torn)
    with pytest.raises(PreflabError, match="a whole gzip file"):
        read_file(tmp_path / "torn.jsonl.gz")


def test_arrow_files_of_both_forms(tmp_path: Path) -> None:
    whole = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(tmp_path / "stream.arrow"), "wb") as out, pa.ipc.new_stream(out, whole.schema) as writer:
        writer.write_table(whole)
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as out, pa.ipc.new_file(out, whole.schema) as writer:
        writer.write_table(whole)
    for name in ("stream.arrow", "file.arrow"):
        found = read_file(tmp_path / name)
        assert (groups(found), found.unit) == (EXPECTED, "row")
    (tmp_path / "none.arrow").write_bytes(b"nothing of the kind")
    with pytest.raises(PreflabError, match="an Arrow file"):
        read_file(tmp_path / "none.arrow")


def test_numbers_of_rows_and_columns_of_an_export_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(",prompt,preflab_prompt_id,preflab_source\n0,a,x,y\n1,a,x,y\n")
    found = read_file(tmp_path / "p.csv")
    assert [(p.text, p.columns) for p in found.prompts] == [("a", {})]
    assert found.repeats == {3: 2}
    assert found.columns.to_json()["left_out"] == ["(no name)", "preflab_…"]
    pq.write_table(pa.Table.from_pylist([{"prompt": "a", "__index_level_0__": 7}]), tmp_path / "p.parquet")
    found = read_file(tmp_path / "p.parquet")
    assert found.prompts[0].columns == {}
    assert found.columns.to_json()["left_out"] == ["__index_level_0__"]


def test_a_null_inside_an_object_of_a_column_is_no_key(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "info": {"x": 1}}, {"prompt": "b", "info": {"y": [1, None]}}, {"prompt": "c", "info": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    found = read_file(tmp_path / "p.parquet")
    assert [p.columns for p in found.prompts] == [{"info": {"x": 1}}, {"info": {"y": [1, None]}}, {"info": None}]


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_splits_of_a_folder_in_the_hubs_layout(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    parquet(folder / "data" / "train-00000-of-00002.parquet", ROWS[:1])
    parquet(folder / "data" / "train-00001-of-00002.parquet", ROWS[1:])
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / ".gitattributes").write_text("")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    lines(folder / ".cache" / "huggingface" / "x.jsonl")
    (folder / "dataset_infos.json").write_text("{}")
    found = read_file(folder)
    assert groups(found) == EXPECTED
    assert [p.source for p in found.prompts] == ["set, row 1", "set, row 2"]
    assert found.notes == ["the split train: data/train-00000-of-00002.parquet, data/train-00001-of-00002.parquet"]
    parquet(folder / "data" / "test-00000-of-00001.parquet", ROWS[:1])
    with pytest.raises(PreflabError) as caught:
        read_file(folder)
    assert str(caught.value).endswith("several splits (train, test)\none split\nname it: --split train")
    assert groups(read_file(folder, split="test")) == EXPECTED[:1]
    with pytest.raises(PreflabError, match="no split 'tests'\none of train, test\nnear it: test"):
        read_file(folder, split="tests")
    parquet(tmp_path / "two" / "main" / "train" / "0000.parquet", ROWS)
    with pytest.raises(PreflabError, match="no split 'train'\none of main/train\nnear it: main/train"):
        read_file(tmp_path / "two", split="train")


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["train.jsonl", "test.jsonl"], ["train", "test"]),
        (["main/train-00000-of-00001.jsonl", "main/test.jsonl", "socratic/train.jsonl"],
         ["main/train", "socratic/train", "main/test"]),
        (["default/train/0000.jsonl", "default/train/0001.jsonl"], ["default/train"]),
        (["train_prefs-00000-of-00001.jsonl", "train_sft-00000-of-00001.jsonl"], ["train_prefs", "train_sft"]),
        (["pairs.jsonl", "prompts.csv"], ["pairs", "prompts"]),
        (["data/train-00000-of-00002-0123456789abcdef.jsonl", "data/train-00001-of-00002-fedcba9876543210.jsonl"],
         ["train"]),
    ],
)  # fmt: skip
def test_splits_follow_from_the_names_of_files(tmp_path: Path, files: list[str], names: list[str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        table(tmp_path / name, ",") if name.endswith(".csv") else lines(tmp_path / name)
    if len(names) > 1:
        with pytest.raises(PreflabError) as caught:
            read_file(tmp_path)
        assert f"several splits ({', '.join(names)})" in caught.value.found
    for name in names:
        assert [row for _, row in numbered_rows(tmp_path, name)][:2] == ROWS


def test_a_split_in_two_kinds_of_files_is_refused(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl")
    parquet(tmp_path / "train.parquet", ROWS)
    with pytest.raises(PreflabError, match=r"the split train has files of the kinds \.jsonl and \.parquet"):
        read_file(tmp_path)
    with pytest.raises(PreflabError, match="a file has no splits"):
        read_file(tmp_path / "train.jsonl", split="train")


def test_saved_data_sets_with_one_split_and_several(tmp_path: Path) -> None:
    one, two = Dataset.from_list(ROWS), Dataset.from_list(ROWS[:1])
    one.save_to_disk(tmp_path / "one")
    DatasetDict({"test": two, "train": one}).save_to_disk(tmp_path / "both")
    assert groups(read_file(tmp_path / "one")) == groups(read_file(tmp_path / "both", split="train")) == EXPECTED
    assert groups(read_file(tmp_path / "both" / "test")) == EXPECTED[:1]
    with pytest.raises(PreflabError, match=r"several splits \(train, test\)"):
        read_file(tmp_path / "both")


def test_a_data_set_of_the_hub_is_fetched_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(path: str, name: str | None) -> DatasetDict:
        asked.append((path, name))
        return DatasetDict({"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS[:1])})

    monkeypatch.setattr("datasets.load_dataset", load)
    monkeypatch.chdir(tmp_path)
    found = read_file("someone/pairs:small", split="train")
    assert groups(found) == EXPECTED
    assert set(asked) == {("someone/pairs", "small")}
    assert found.prompts[0].source == "someone/pairs:small, row 1"
    assert groups(read_file("hub:someone/pairs:small", split="test")) == EXPECTED[:1]
    with pytest.raises(PreflabError, match=r"someone/pairs: several splits \(train, test\)"):
        read_file("someone/pairs")
    (tmp_path / "someone").mkdir()
    lines(tmp_path / "someone" / "pairs")  # what lies there is read, without an ending as JSON lines
    assert groups(read_file("someone/pairs")) == EXPECTED
    with pytest.raises(PreflabError, match="someone/pairs: several splits"):
        read_file("hub:someone/pairs")


def test_hub_data_set_without_a_network_names_the_folder_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PreflabError) as caught:
        read_file("someone/no-such-data-set")
    assert "no such path" in caught.value.found
    assert "hf download someone/no-such-data-set --repo-type dataset" in caught.value.do
    assert str(tmp_path / "someone" / "no-such-data-set") in caught.value.do
    (tmp_path / "data").mkdir()
    for path in ("someone/pairs.jsonl", "pairs", "a/b/c", tmp_path / "someone" / "pairs", "data/promts"):
        with pytest.raises(PreflabError, match="there is no such file"):
            read_file(path)


def test_a_pipe_among_the_files_of_a_folder_is_named(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl")
    os.mkfifo(tmp_path / "more.jsonl")
    with pytest.raises(PreflabError, match=r"more\.jsonl: a pipe, not a file"):
        list(numbered_rows(tmp_path))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="the system has no /proc")
def test_virtual_files_of_the_kernel_are_refused_before_reading(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to("/proc/self/mem")
    for path in (Path("/proc/kmsg"), Path("/proc/self/mem"), tmp_path / "link.jsonl"):
        with pytest.raises(PreflabError, match=f"{path.name}: a virtual file of the kernel"):
            list(numbered_rows(path))
