import pytest

from ldm_jax.text.prompts import Request, read_prompts


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_text(tmp_path):
    path = write(tmp_path, "p.txt", "a dog barks\r\n\n  rain, “heavy” \n")
    assert [r.prompt for r in read_prompts(path)] == ["a dog barks", "rain, “heavy”"]


def test_csv(tmp_path):
    path = write(
        tmp_path, "p.csv", 'prompt,seed,negative_prompt\n"a dog, barking",7,\nrain,,noise\n'
    )
    assert read_prompts(path) == [
        Request(prompt="a dog, barking", seed=7),
        Request(prompt="rain", negative_prompt="noise"),
    ]


def test_jsonl(tmp_path):
    path = write(
        tmp_path,
        "p.jsonl",
        '{"prompt": "a", "transcript": "Hi.", "name": "x"}\n\n{"prompt": "b", "seed": 3}\n',
    )
    assert read_prompts(path) == [
        Request(prompt="a", transcript="Hi.", name="x"),
        Request(prompt="b", seed=3),
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.txt", b"good\nbad \xff byte\n", "line 2: not UTF-8"),
        ("p.txt", "\n \n", "no prompt"),
        ("p.csv", "text\na dog\n", "line 1: the header has no column named prompt"),
        ("p.csv", "prompt,seed\na dog,1,extra\n", "line 2: another number of cells"),
        ("p.csv", "prompt,seed\na dog\n", "line 2: another number of cells"),
        ("p.csv", "prompt,seed\na dog,soon\n", "line 2: the seed 'soon'"),
        ("p.csv", "prompt,colour\na dog,red\n", "line 2: unknown field colour"),
        ("p.csv", 'prompt\n"open\n', "line"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": \n', "line 2: not JSON"),
        ("p.jsonl", "[1]\n", "line 1: an object is expected"),
        ("p.jsonl", '{"prompt": " "}\n', "line 1: the prompt is empty"),
        ("p.jsonl", '{"prompt": 3}\n', "line 1: prompt should be text"),
        ("p.yaml", "prompt: a\n", "one of .txt, .csv, .jsonl"),
    ],
)
def test_malformed_files_say_where(tmp_path, name, content, words):
    with pytest.raises(ValueError, match=words):
        read_prompts(write(tmp_path, name, content))
