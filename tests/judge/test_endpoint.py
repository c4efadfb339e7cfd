"""What a user can get wrong about a judge: one clear error each, before texts are sent."""

import json
import logging
import socket

import pytest
import typer
from typer.testing import CliRunner

from hyperfitting.cli.judge import judge as command
from hyperfitting.errors import InputError
from hyperfitting.judge.estimate import estimate
from hyperfitting.judge.job import questions
from hyperfitting.judge.pairs import choose_pairs, find_side, read_pairs
from hyperfitting.judge.prompt import build_prompt
from hyperfitting.judge.store import AnswerFile
from hyperfitting.judge.verb import judge
from hyperfitting.records import Arm
from hyperfitting.runs import StudyFolder
from tests.judge.serving import KEY, make_study, serving

app = typer.Typer()
app.command()(command)


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study", ["alpha", "alpha", "beta", "first"])


def hyperfit_judge(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def test_a_wrong_key_is_one_error_and_is_shown_nowhere(study, settings, monkeypatch, caplog):
    wrong = "sk-wrong-but-still-secret-987"
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    caplog.set_level(logging.DEBUG)
    with serving() as server:
        with pytest.raises(InputError, match="refused the key .status 401.*\\[key\\]") as error:
            judge(study, settings(server))
        result = hyperfit_judge(
            study, "--a", "late_stage_lora", "--b", "full_lora", "--endpoint", server.url,
            "--model", "m",
        )  # fmt: skip
    assert not server.asked  # no text was sent
    assert result.exit_code == 2
    assert "refused the key" in result.output
    for shown in (str(error.value), result.output, caplog.text):
        assert wrong not in shown
    assert not (study / "judge").exists()


def test_a_right_key_is_in_no_log_and_no_file(study, settings, caplog):
    caplog.set_level(logging.DEBUG)
    with serving() as server:
        judge(study, settings(server))
    assert caplog.text  # the client did log its requests
    assert KEY not in caplog.text
    for path in study.rglob("*"):
        assert not path.is_file() or KEY not in path.read_text()


def test_a_key_that_comes_back_in_an_answer_is_not_stored(study, settings):
    echo = json.dumps({"winner": "A", "reasoning": f"the key is {KEY}"})
    with serving(answer=lambda _: echo) as server:
        judge(study, settings(server))
    stored = (study / "judge" / "answers.jsonl").read_text()
    assert "the key is [key]" in stored
    assert KEY not in stored


def test_a_server_here_needs_no_key_and_one_elsewhere_does(study, settings, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving(key=None) as server:
        assert judge(study, settings(server)).n == 4
    with pytest.raises(InputError, match="the environment variable OPENAI_API_KEY is not set"):
        judge(study, settings(endpoint="https://judge.example/v1"))
    with pytest.raises(InputError, match="the environment variable OTHER is not set"):
        judge(study, settings(endpoint="https://judge.example/v1", api_key_env="OTHER"))


def test_a_server_here_that_wants_a_key_says_that_there_is_none(study, settings, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving() as server, pytest.raises(InputError, match="wants a key .status 401.*not set"):
        judge(study, settings(server))


def test_a_judge_without_any_verdict_ends_in_an_error(study):
    with serving(answer=lambda _: "the first one, I think") as server:
        result = hyperfit_judge(
            study, "--a", "late_stage_lora", "--b", "full_lora", "--model", "m",
            "--endpoint", server.url,
        )  # fmt: skip
    assert result.exit_code == 2
    assert "no pair of 4 has a verdict" in result.output
    assert "answers.jsonl" in result.output
    assert (study / "judge" / "results.json").exists()


def test_the_name_of_the_variable_can_be_chosen(study, settings, monkeypatch):
    monkeypatch.setenv("MY_JUDGE", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "another-and-wrong")
    with serving() as server:
        assert judge(study, settings(server, api_key_env="MY_JUDGE")).n == 4
    with pytest.raises(InputError, match="no name of an environment variable") as error:
        judge(study, settings(server, api_key_env=KEY))
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        (None, "no judge is given"),
        ("localhost:8000", "no http or https URL"),
        ("ftp://host/v1", "no http or https URL"),
        ("http://host:port/v1", "no http or https URL"),
        (f"https://user:{KEY}@host/v1", "a password or a query"),
        (f"https://host/v1?api-key={KEY}", "a password or a query"),
    ],
)
def test_an_unusable_endpoint_is_refused_without_repeating_it(study, settings, endpoint, says):
    with pytest.raises(InputError, match=says) as error:
        judge(study, settings(endpoint=endpoint))
    assert KEY not in str(error.value)


def test_no_server_is_one_quick_error(study, settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=f"no server answers at http://127.0.0.1:{port}/v1"):
        judge(study, settings(endpoint=f"http://127.0.0.1:{port}/v1"))


def test_an_unknown_model_or_path_is_one_error(study, settings):
    with serving() as server:
        server.RequestHandlerClass = type(
            "Lost",
            (server.RequestHandlerClass,),
            {"do_POST": lambda self: self.reply(404, {"error": {"message": "no such model"}})},
        )
        with pytest.raises(InputError, match="does not know this path or model.*no such model"):
            judge(study, settings(server))


@pytest.mark.parametrize("page", ["<html>Welcome</html>", "{}", '{"choices": []}', "[1]", '{"a": '])
def test_a_server_of_another_kind_is_one_error(study, settings, page):
    with serving() as server:
        server.page = page
        with pytest.raises(InputError, match="no chat completion"):
            judge(study, settings(server, concurrency=1))


def test_a_missing_client_names_the_extra(study, settings, monkeypatch):
    monkeypatch.setattr("hyperfitting.judge.endpoint.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"hyperfitting\[judge\]"):
        judge(study, settings(endpoint="http://localhost:1/v1"))


def test_a_study_without_such_arms_is_refused(study, settings, tmp_path):
    where = {"endpoint": "http://localhost:1/v1"}
    with pytest.raises(InputError, match="did you mean 'full_lora'"):
        judge(study, settings(b="full_lorra", **where))
    with pytest.raises(InputError, match="two different arms"):
        judge(study, settings(b="late_stage_lora", **where))
    with pytest.raises(InputError, match="has no natural continuations"):
        judge(study, settings(mode="natural", **where))
    with pytest.raises(InputError, match="there is no study.json"):
        judge(tmp_path, settings(**where))


def test_entries_of_one_arm_are_told_apart_by_their_settings(study):
    listed = json.loads((study / "study.json").read_text())
    other = listed["generations"][0] | {"seed": 1, "file": listed["generations"][1]["file"]}
    penalty = other | {"parameters": {"decoder": "min_p", "min_p": 0.1}}
    listed["generations"] += [other, penalty]
    (study / "study.json").write_text(json.dumps(listed))
    folder = StudyFolder(study)

    def find(wanted):
        return find_side(folder, wanted, "fixed_length")

    with pytest.raises(InputError, match="fits 3 of the 3 entries.*") as error:
        find("late_stage_lora")
    assert "late_stage_lora,decoder=min_p,min_p=0.1,seed=1" in str(error.value)
    assert find("late_stage_lora,seed=0").arm == Arm("late_stage_lora", 0)
    side = find("late_stage_lora, min_p=0.1")
    assert side.decoding == {"decoder": "min_p", "min_p": 0.1}
    assert side.arm == Arm("late_stage_lora", 1)
    assert find(side.name) == side
    assert find("late_stage_lora,seed=1").decoding == {"decoder": "greedy"}
    with pytest.raises(InputError, match="fits 0 of the 3"):
        find("late_stage_lora,seed=9")
    with pytest.raises(InputError, match="not of the form key=value"):
        find("late_stage_lora,seed")


def test_a_plain_arm_is_named_beside_its_nulls_strengths_and_variants(study):
    """Every entry by its own name, and the plain one by its arm alone."""
    listed = json.loads((study / "study.json").read_text())
    first = listed["generations"][0]
    first["parameters"] |= {"num_train": None}  # as beside a variant of it
    for more in ({"null": "shuffled"}, {"strength": 0.5}, {"num_train": 16, "null": "shuffled"}):
        beside = first | {"parameters": {"decoder": "greedy", **more}, "arm_parameters": more}
        listed["generations"].append(beside)
    (study / "study.json").write_text(json.dumps(listed))
    folder = StudyFolder(study)
    found = [
        find_side(folder, f"late_stage_lora{more}", "fixed_length")
        for more in ("", ",null=shuffled", ",strength=0.5", ",num_train=16")
    ]
    assert [side.arm.parameters.get("null") for side in found] == [
        None, "shuffled", None, "shuffled",
    ]  # fmt: skip
    assert len({side.name for side in found}) == 4
    for side in found:
        assert find_side(folder, side.name, "fixed_length") == side


def test_arms_of_different_contexts_are_refused(study, settings):
    file = next((study / "generations").glob("full_lora*"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["context_ids"] = [9, 9]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="did not continue the same contexts"):
        judge(study, settings(endpoint="http://localhost:1/v1"))


def test_pairs_are_chosen_by_seed_and_a_larger_choice_holds_the_smaller(tmp_path):
    folder = StudyFolder(make_study(tmp_path / "s", ["alpha"] * 30))
    sides = [find_side(folder, arm, "fixed_length") for arm in ("late_stage_lora", "full_lora")]
    pairs = read_pairs(folder, *sides)
    ten = [pair.context_index for pair in choose_pairs(pairs, 10, seed=3)]
    twenty = [pair.context_index for pair in choose_pairs(pairs, 20, seed=3)]
    assert len(ten) == 10
    assert set(ten) < set(twenty)
    assert ten == sorted(ten)
    assert ten != [pair.context_index for pair in choose_pairs(pairs, 10, seed=4)]
    assert [p.context_index for p in choose_pairs(pairs, 99, seed=3)] == list(range(30))
    with pytest.raises(ValueError, match="at least 1"):
        choose_pairs(pairs, 0, seed=0)


def test_the_same_three_texts_are_one_pair(study):
    for file in (study / "generations").iterdir():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows[2] = rows[0] | {"context_index": rows[2]["context_index"]}
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = StudyFolder(study)
    sides = [find_side(folder, arm, "fixed_length") for arm in ("late_stage_lora", "full_lora")]
    assert [pair.context_index for pair in read_pairs(folder, *sides)] == [0, 1, 3]


def test_the_estimate_counts_what_is_still_to_be_asked(study, settings, tmp_path):
    folder = StudyFolder(study)
    sides = [find_side(folder, arm, "fixed_length") for arm in ("late_stage_lora", "full_lora")]
    pairs = read_pairs(folder, *sides)
    config = settings(price_in=2.0, price_out=8.0)
    asked = questions(pairs, config, config.model)
    found = estimate(asked, AnswerFile(tmp_path / "none.jsonl"), config)
    lengths = [len(build_prompt(p.context, p.text_a, p.text_b)) for p in pairs]
    assert found.questions == 8
    assert found.prompt_tokens == 2 * sum((n + 3) // 4 for n in lengths)
    assert found.answer_tokens == 8 * 150
    assert found.cost == pytest.approx((2 * found.prompt_tokens + 8 * 1200) / 1e6)
    with serving() as server:
        judge(study, settings(server))
    file = AnswerFile(study / "judge" / "answers.jsonl")
    assert estimate(asked, file, config) == (0, 8, 0, 0, 0.0)
    assert estimate(asked, file, settings()).cost is None


def test_a_dry_run_prints_the_estimate_and_leaves_no_trace(study, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    result = hyperfit_judge(
        study, "--a", "late_stage_lora", "--b", "full_lora", "--model", "m", "--pairs", 3,
        "--endpoint", "https://judge.example/v1", "--dry-run", "price_in=1", "price_out=1",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "6 questions to ask (0 answered before)" in result.output
    assert "cost about 0.00" in result.output
    assert not (study / "judge").exists()


def test_the_command_prints_a_table_or_one_json_object(study, tmp_path):
    with serving() as server:
        common = [study, "--a", "late_stage_lora", "--b", "full_lora", "--model", "m",
                  "--endpoint", server.url, "--out", tmp_path / "out"]  # fmt: skip
        result = hyperfit_judge(*common, "--swap-check")
        as_json = hyperfit_judge(*common, "--json")
    assert result.exit_code == 0, result.output
    assert "50.0 [6.8, 93.2]" in result.stdout  # 2 of 4
    assert "position bias: of 4 pairs 1 favour the text shown first and 0" in result.stdout
    assert json.loads(as_json.stdout)["winner"]["wins"] == 2
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"answers.jsonl", "results.json"}
    assert not (study / "judge").exists()
    one_order = hyperfit_judge(*common, "--swap-check", "orders=single")
    assert one_order.exit_code == 2
    unknown = hyperfit_judge(*common, "temprature=1")
    assert unknown.exit_code == 2
    assert "did you mean 'temperature'" in unknown.output
