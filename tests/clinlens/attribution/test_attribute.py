"""The verb: records that a second run gives again, refusals in one sentence, pages and files."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.attribution.config import METHODS, GradientNormConfig, MethodConfig
from analysis.attribution.gradient import gradient_norm
from analysis.attribution.problem import Problem
from analysis.attribution.record import without_clocks
from analysis.attribution.scores import Scores
from clinlens.__main__ import main
from clinlens.attribution import page
from sae import saelens_format
from sae.build import build
from sae.config import L1Config
from sae.errors import UserError
from tests.tiny import write_tiny_model

TEXT = "patient has fever and pain . no cough given drug 7 today"
POINT = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's config with a tiny model and one SAE."""
    import torch

    folder = tmp_path_factory.mktemp("attribute")
    write_tiny_model(folder / "model", "llama")
    sae = build(L1Config(), 32, 64)
    torch.manual_seed(0)
    for parameter in sae.parameters():
        parameter.data.normal_(std=0.3)
    saelens_format.save(sae, L1Config(), folder / "run" / "saes" / POINT / "l1-a", {})
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {"folder": str(folder / "run"), "model": {"name": str(folder / "model")}, "sae": [{"architecture": "l1"}]}
        )
    )
    (folder / "note.txt").write_text(TEXT)
    return path


def said(config: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    """What the verb answers."""
    main(["attribute", str(config), "--text", str(config.parent / "note.txt"), *more, "--json"])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(config: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The sentence it refuses with."""
    with pytest.raises(SystemExit) as stopped:
        main(["attribute", str(config), *more])
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def note(config: Path) -> str:
    return str(config.parent / "note.txt")


def test_a_record_has_all_that_the_design_asks_for(config: Path, capsys: pytest.CaptureFixture[str]):
    (record,) = said(config, capsys, "--target", " acute", "--method", "attn_lrp,occlusion")["records"]
    assert {"job_id", "created_at", "completed_at", "input", "options", "results"} <= set(record)
    assert record["input"]["tokens"][1:] == TEXT.split()
    for result in record["results"]:
        assert len(result["attribution"]["raw"]) == 13
        assert result["attribution"]["raw"][0] == [0.0]
        assert 0 < result["step_scores"]["probability"][0] < 1
        assert {"settings", "seed", "model", "target", "threads"} <= set(result["origin"])
        assert result["profile"]["seconds"] > 0
    assert record["profile"]["record_bytes"] > 1000


def test_a_second_run_gives_the_same_bytes_clocks_apart(config: Path, capsys: pytest.CaptureFixture[str]):
    options = ("--generate", "2", "--method", "attn_lrp,resampling,shapley", "--fresh")
    one, again = (said(config, capsys, *options)["records"][0] for _ in range(2))
    assert one["profile"] != again["profile"]
    assert json.dumps(without_clocks(one)) == json.dumps(without_clocks(again))


def test_a_question_asked_twice_is_answered_from_the_run_folder(config: Path, capsys: pytest.CaptureFixture[str]):
    one, again = (said(config, capsys, "--target", " chronic")["records"][0] for _ in range(2))
    assert one["results"] == again["results"]  # its profile too: it was made once
    folder = config.parent / "run" / "attributions"
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.glob("*.json"))
    other = said(config, capsys, "--target", " chronic", "--set", "gated_lrp.baseline=vocabulary_mean")["records"][0]
    assert other["results"][0]["attribution"] != one["results"][0]["attribution"]


def test_changed_code_makes_kept_results_anew(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    asked = ("--target", " mild", "--method", "occlusion,sae_features")
    (before,) = said(config, capsys, *asked)["records"]
    monkeypatch.setattr("clinlens.attribution.attribute.code_stamp", lambda: "other")
    (after,) = said(config, capsys, *asked)["records"]
    for one, other in zip(before["results"], after["results"], strict=True):
        assert one["profile"] != other["profile"]  # made anew
        assert one["origin"]["code"] != other["origin"]["code"] == "other"
        assert one["attribution"] == other["attribution"]


def test_a_feature_is_explained_with_the_only_sae_there(config: Path, capsys: pytest.CaptureFixture[str]):
    found = said(config, capsys, "--feature", f"{POINT}/5", "--method", "attn_lrp,heta")["records"][0]
    assert found["results"][0]["output"]["text"].startswith(f"{POINT}/5@")
    assert found["refused"][0]["method"] == "heta"
    assert "a feature has none" in found["refused"][0]["reason"]


def test_the_bridge_answers_for_a_feature_and_for_an_answer(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Asked about a feature alone, the answer is the model's own next token."""
    report = tmp_path / "feature.html"
    (record,) = said(config, capsys, "--feature", f"{POINT}/5", "--report", str(report))["records"]
    assert [one["method"] for one in record["results"]] == ["gated_lrp", "sae_features"]
    result = record["results"][1]
    (feature,), answer = result["bridge"]["features"], result["bridge"]["answer"]
    (node,) = [one for one in feature["nodes"] if one["kind"] == "feature"]
    assert node["feature"] == 5
    assert node["is_exact"]
    behind = {one["from"]: one["exact"] for one in feature["edges"] if one["to"] == node["id"]}
    raw = [row[0] for row in result["attribution"]["raw"]]
    assert {f"t{i}": value for i, value in enumerate(raw) if value} == behind
    assert answer["n_ablated"] <= 0.4 * answer["n_active"] + 1
    assert all(path["through"][2] == "answer" for path in answer["paths"])
    html = report.read_text()
    assert f"<th>Estimate ({answer['tiers']['ranks']})</th>" in html
    assert html.count("<svg") == 2
    assert "Which features drive the answer" in html


def test_a_text_of_one_token_has_no_explained_variance_and_is_answered(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("analysis.attribution.feature_site.FeatureSite.explained_variance", None)
    (tmp_path / "one.txt").write_text("fever")
    report = tmp_path / "one.html"
    asked = ("--text", str(tmp_path / "one.txt"), "--target", " acute", "--method", "sae_features", "--fresh")
    main(["attribute", str(config), *asked, "--report", str(report), "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["records"][0]["results"][0]
    assert result["bridge"]["answer"]["explained_variance"] is result["diagnostics"]["explained_variance"] is None
    assert "not defined for one token" in report.read_text()
    main(["attribute", str(config), *asked])
    assert "sae_features" in capsys.readouterr().out


def test_the_bridge_stands_beside_other_methods(config: Path, capsys: pytest.CaptureFixture[str]):
    """A token's heat is the sum of its measured paths."""
    (record,) = said(
        config, capsys, "--target", " acute", "--contrast", " chronic", "--method", "gradient_norm,sae_features",
        "--set", "sae_features.exact_share=1",
    )["records"]  # fmt: skip
    result = record["results"][1]
    graph = result["bridge"]["answer"]
    sums = [0.0] * 13
    for path in graph["paths"]:
        sums[int(path["through"][0][1:])] += path["effect"]
    assert [row[0] for row in result["attribution"]["raw"]] == pytest.approx(sums)
    assert graph["n_ablated"] == graph["n_active"]
    assert result["origin"]["sae"]["sae_id"] == "l1-a"


def test_the_bridge_explains_an_answer_of_several_tokens(config: Path, capsys: pytest.CaptureFixture[str]):
    (record,) = said(
        config, capsys, "--continuation", " acute pain", "--feature", f"{POINT}/5", "--method", "sae_features"
    )["records"]
    (result,) = record["results"]
    assert len(result["attribution"]["raw"]) == 13
    assert [node["text"] for node in result["bridge"]["answer"]["nodes"] if node["kind"] == "answer"] == ["acute pain"]


def test_the_bridge_has_the_seed_of_all_and_a_position_of_the_text(config: Path, capsys: pytest.CaptureFixture[str]):
    asked = ("--target", " acute", "--method", "sae_features")
    (record,) = said(config, capsys, *asked, "--seed", "3")["records"]
    assert record["results"][0]["origin"]["seed"] == 3
    assert "seed" not in record["results"][0]["origin"]["settings"]
    for value in ("-1", "13"):
        found = refused(config, capsys, "--text", note(config), *asked, "--set", f"sae_features.position={value}")
        assert f"sae_features.position is {value}, expected 0 to 12" in found


def test_the_bridge_reads_no_windows(config: Path, capsys: pytest.CaptureFixture[str]):
    long = config.parent / "long.txt"
    long.write_text(" ".join([TEXT] * 7))
    asked = ("--text", str(long), "--target", " acute", "--window", "32", "--tail", "4")
    assert "sae_features reads a text whole" in refused(config, capsys, *asked, "--method", "sae_features")


def test_cases_say_for_themselves_what_is_asked(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [
        {"id": "one", "text": TEXT, "continuation": " acute pain", "total": True},
        {
            "id": "two",
            "text": TEXT,
            "spans": [{"start": 30, "end": 38, "label": "cough"}],
            "fixed": [{"start": 0, "end": 7}],
        },
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report, save = tmp_path / "cases.html", tmp_path / "records.jsonl"
    main(
        ["attribute", str(config), "--cases", str(tmp_path / "cases.jsonl"), "--target", " acute", "--report", str(report),
         "--save", str(save), "--inseq", str(tmp_path / "inseq")]
    )  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["one", "score:"],
        ["one", "gated_lrp"],
        ["two", "score:"],
        ["two", "gated_lrp"],
    ]
    one, two = map(json.loads, save.read_text().splitlines())
    assert one["results"][0]["output"]["tokens"] == ["acutepain"]
    assert two["results"][0]["attribution"]["raw"][1] == [0.0]  # held fixed
    html = report.read_text()
    assert "fever" in html
    assert '<span class="special" title="not attributed">patient</span>' in html
    assert "patient +" not in lines[3]  # held fixed
    assert "<script" not in html
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


def test_inseqs_format_holds_the_scores(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import base64

    import torch
    from safetensors.torch import load

    found = said(config, capsys, "--continuation", " acute pain", "--inseq", str(tmp_path))
    assert stat.S_IMODE((tmp_path / "gated_lrp.json").stat().st_mode) == 0o600  # it holds the text
    saved = json.loads((tmp_path / "gated_lrp.json").read_text())["attributes"]["sequence_attributions"][0][
        "attributes"
    ]
    scores = load(base64.b64decode(saved["target_attributions"]))["attribution"]
    raw = torch.tensor(found["records"][0]["results"][0]["attribution"]["raw"])
    assert torch.equal(scores[:13], raw.float())
    assert scores[13:].isnan().tolist() == [[True, False], [True, True]]
    assert [token["attributes"]["token"] for token in saved["target"]][-2:] == ["acute", "pain"]


def test_a_long_text_is_refused_or_read_in_windows(config: Path, capsys: pytest.CaptureFixture[str]):
    long = config.parent / "long.txt"
    long.write_text(" ".join([TEXT] * 7))
    asked = ("--text", str(long), "--target", " acute")
    assert "reads at most 64. Shorten it, or attribute it in windows (--window)" in refused(config, capsys, *asked)
    main(["attribute", str(config), *asked, "--window", "32", "--tail", "4", "--json"])
    (record,) = json.loads(capsys.readouterr().out.splitlines()[-1])["records"]
    raw = record["results"][0]["attribution"]["raw"]
    assert len(raw) == 7 * 12 + 1
    assert all(row != [0.0] for row in raw[1:])
    assert "Read in windows" in record["results"][0]["faithfulness"]["caveat"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ("--target", " acute", "--generate", "2"),
            "The request names --target and --generate to explain, expected one of",
        ),
        ((), "The request names nothing to explain"),
        (("--feature", f"{POINT}/5", "--contrast", " acute"), "A contrast was given for --feature"),
        (("--feature", f"{POINT}/5", "--position", "0"), "does not fire at token 0"),
        (("--target", " acute", "--position", "3"), "A position was given without a feature"),
        (("--feature", f"{POINT}/64"), "the SAE has features 0 to 63"),
        (("--target", " acute", "--method", "magic"), "'magic' is no method"),
        (("--target", " acute", "--set", "heta.magic=1"), "names no setting of a method"),
        (
            ("--target", " acute", "--set", "attn_lrp.baseline=zero"),
            "for a method that is not asked for, expected one of gated_lrp",
        ),
        (("--target", " acute", "--set", "gated_lrp.baseline=none"), "--set baseline: input should be 'zero'"),
        (("--feature", "5"), "expected HOOK/INDEX such as"),
        (("--feature", "blocks.0.hook_resid_post/5"), "holds no trained SAE"),
        (("--class", "acute"), "expected a classifier"),
        (
            ("--target", " acute", "--contrast", " acute"),
            "The target and the contrast are both 'acute', expected two that differ",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    config: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], sentence: str
):
    assert sentence in refused(config, capsys, "--text", note(config), *more)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--text", ""), "--text is empty, expected a file, or - for stdin. Name one."),
        (("--text", "", "--cases", "x"), "Both --text and --cases given"),
        ((), "Neither --text and --cases given"),
    ],
)
def test_a_text_without_a_name_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], sentence: str
):
    assert sentence in refused(config, capsys, *given, "--target", " acute")


def test_of_all_methods_one_that_refuses_is_listed_and_the_others_are_kept(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def failing(error: Exception) -> None:
        def run(problem: Problem, cfg: MethodConfig, seed: int) -> Scores:
            if cfg.method == "occlusion":
                raise error
            return gradient_norm(problem, GradientNormConfig(), seed)

        monkeypatch.setattr("clinlens.attribution.attribute.attribute", run)

    asked = ("--target", " acute", "--method", "all", "--fresh")
    failing(UserError("It cannot."))
    (record,) = said(config, capsys, *asked)["records"]
    assert record["refused"] == [{"method": "occlusion", "reason": "It cannot."}]
    assert len(record["results"]) == len(METHODS)  # the bridge too, without the one
    failing(ZeroDivisionError("a fault of ours"))
    with pytest.raises(ZeroDivisionError):
        said(config, capsys, *asked)


def test_a_window_longer_than_the_model_reads_is_refused_and_a_feature_is_read_whole(
    config: Path, capsys: pytest.CaptureFixture[str]
):
    long = config.parent / "long.txt"
    long.write_text(" ".join([TEXT] * 7))
    for target in (("--target", " acute"), ("--feature", f"{POINT}/3")):
        found = refused(config, capsys, "--text", str(long), *target, "--window", "100000")
        assert "--window is 100000 tokens, but the model" in found
        assert "reads at most 64" in found
    asked = ("--text", str(long), "--feature", f"{POINT}/3", "--method", "attn_lrp", "--window", "32", "--tail", "4")
    assert "a feature is explained on a whole text, expected at most 64 tokens" in refused(config, capsys, *asked)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": TEXT, "spans": [{"start": 9, "end": 3}]}, "start is not before end"),
        ({"text": TEXT, "spans": [{"start": 9, "end": 999}]}, "a passage ends behind the text"),
        ({"text": "fever \ud800"}, "half a character"),
        ({"text": " \n "}, "Case '2': The text has no word"),
        ({"text": TEXT, "fixed": [{"start": 0, "end": len(TEXT)}]}, "Case '2': All tokens of the text are special or held fixed"),
        ({"text": TEXT, "target": " fever cough"}, "Case '2': "),
    ],
)  # fmt: skip
def test_a_case_that_cannot_be_explained_is_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], why: str
):
    rows = [{"text": TEXT, "target": " acute"}, {"target": " acute"} | row]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    found = refused(config, capsys, "--cases", str(tmp_path / "cases.jsonl"), "--method", "occlusion")
    assert why in found
    assert "fever" not in found or "target" in row


def test_lines_end_where_json_says(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{"text": f"fever \u2028 {TEXT}"}, {"text": f"fever \x85 {TEXT}"}]
    text = "".join(json.dumps(one, ensure_ascii=False) + "\r\n" for one in rows)
    (tmp_path / "cases.jsonl").write_text(text, encoding="utf-8-sig")
    main(["attribute", str(config), "--cases", str(tmp_path / "cases.jsonl"), "--target", " acute", "--json"])
    assert len(json.loads(capsys.readouterr().out.strip().split("\n")[-1])["records"]) == 2


def test_a_kept_result_that_was_cut_off_is_made_anew(config: Path, capsys: pytest.CaptureFixture[str]):
    asked = ("--target", " acute", "--method", "occlusion", "--seed", "77")
    before = said(config, capsys, *asked)["records"]
    for path in (config.parent / "run/attributions").glob("*.json"):
        path.write_text(path.read_text()[:100])
    assert without_clocks(said(config, capsys, *asked)["records"][0]) == without_clocks(before[0])


def test_what_did_not_come_to_rest_says_so_in_windows_too(config: Path, capsys: pytest.CaptureFixture[str]):
    long = config.parent / "long.txt"
    long.write_text(" ".join([TEXT] * 7))
    asked = ("--target", " acute", "--method", "integrated_gradients,attn_lrp", "--fresh")
    strict = ("--set", "integrated_gradients.refine_until=1e-12", "--set", "integrated_gradients.max_steps=16")
    out = config.parent / "page.html"
    for text, more in ((note(config), ()), (str(long), ("--window", "32", "--tail", "4"))):
        main(["attribute", str(config), "--text", text, *asked, *strict, *more, "--report", str(out)])
        assert capsys.readouterr().out.count("(not converged)") == 1
        shown = out.read_text()
        assert "not converged: more steps than allowed were needed" in shown
        assert "attention&#39;s softmax and biases keep" in shown or "attention's softmax and biases keep" in shown


@pytest.mark.parametrize("more", [("--seed", "-1"), ("--report", "."), ("--save", ".")])
def test_an_option_that_cannot_be_is_refused(config: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]):
    assert "Traceback" not in refused(config, capsys, "--text", note(config), "--target", " acute", *more)


def test_a_broken_case_is_named_by_its_line_and_not_shown(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps({"text": "a secret", "magic": 1}))
    found = refused(config, capsys, "--cases", str(path), "--target", " acute")
    assert "line 1: a field" in found
    assert "secret" not in found


def test_colours_go_by_sign_and_size_and_values_stand_as_text():
    given = {"text": "no pain", "tokens": ["<s>", "no", "pain"], "offsets": [[-1, -1], [0, 2], [3, 7]],
             "is_special": [True, False, False]}  # fmt: skip
    found = page.heat_map(given, [0.0, -2.0, 1.0], "x")
    assert [(piece.text, piece.shade, piece.value) for piece in found.pieces] == [
        ("<s> ", "special", "not attributed"), ("no", "against10", "-2"), (" ", "", ""), ("pain", "for5", "+1"),
    ]  # fmt: skip
    assert [one.text for one in found.strongest] == ["no", "pain"]


def test_what_was_held_fixed_is_marked_as_not_attributed():
    given = {"text": "no pain", "tokens": ["no", "pain"], "offsets": [[0, 2], [3, 7]], "is_special": [False, False]}
    found = page.heat_map(given, [0.0, 1.0], "x", fixed=[0])
    assert found.pieces[0] == ("no", "special", "not attributed")
    assert found.pieces[2] == ("pain", "for10", "+1")


def test_what_was_explained_stands_on_the_page_in_the_record_and_in_the_terminal(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    report = tmp_path / "page.html"
    asked = ("--target", " acute", "--contrast", " chronic", "--method", "gated_lrp,occlusion,sae_features")
    (record,) = said(config, capsys, *asked, "--report", str(report))["records"]
    words = "logit of “acute” − logit of “chronic”"
    assert [one["explained"] for one in record["results"]] == [words] * 3
    assert report.read_text().count(f"score: {words}") == 3
    main(["attribute", str(config), "--text", note(config), *asked])
    assert [line for line in capsys.readouterr().out.splitlines() if "score: " in line] == [
        f"{'note':20} score: {words}"
    ]


def test_of_two_features_each_method_says_where_it_explains_them(config: Path, capsys: pytest.CaptureFixture[str]):
    asked = ("--feature", f"{POINT}/5", "--feature", f"{POINT}/6")
    (record,) = said(config, capsys, *asked)["records"]
    together, apart = (one["explained"] for one in record["results"])
    assert "where the sum is strongest" in together
    assert "each where it is strongest by itself" in apart
    assert f"at token {record['results'][0]['origin']['target']['positions'][0]} " in together
    main(["attribute", str(config), "--text", note(config), *asked])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("score: ")[1] for line in lines if "score: " in line] == [together, apart]
