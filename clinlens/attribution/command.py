"""From the options of the command line to records, files and a few lines to read."""

import json
from pathlib import Path
from typing import Any

from analysis.attribution.inseq_format import exported
from analysis.attribution.target_request import TargetRequest
from clinlens import config as configs
from clinlens.attribution import page
from clinlens.attribution.attribute import Options, attribute_cases, method_settings, summary
from clinlens.attribution.cases import Asked, read_cases, read_text
from clinlens.pipeline import Run
from sae import artefact
from sae.errors import UserError

N_SHOWN = 5


def attribute_command(place: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Runs the verb.

    Args:
        place: A run folder, or its config.
        given: The command line's options by name.

    Returns:
        The records, the hardware profile, and the files written.
    """
    run = Run(configs.read(place))
    cfgs = method_settings(given["names"], given["settings"], has_features=bool(given["features"]))
    options = Options(given["seed"], given["sae_id"], given["window"], given["tail"], not given["fresh"])
    records = attribute_cases(run, asked_of(given), cfgs, options)
    profile = summary(run, records)
    return {"records": records, "profile": profile, "files": written(given, records, profile)}


def asked_of(given: dict[str, Any]) -> list[Asked]:
    """The cases of the command line.

    Raises:
        UserError: Neither a text nor cases, or both; a text without a name.
    """
    named: dict[str, Any] = {name: given.get(name) for name in TargetRequest.model_fields}
    given_ones: dict[str, Any] = {
        name: value for name, value in named.items() if value or (value == 0 and value is not False)
    }
    request = TargetRequest(**given_ones)
    if (given["text"] is None) == (given["cases"] is None):
        raise UserError(
            f"{'Neither' if given['text'] is None else 'Both'} --text and --cases given, expected one of them. Name a file."
        )
    return read_cases(given["cases"], request) if given["text"] is None else read_text(given["text"], request)


def written(given: dict[str, Any], records: list[dict[str, Any]], profile: dict[str, Any]) -> list[str]:
    """Writes the files that were asked for; they hold the texts, so only their owner may read them."""
    found: list[Path] = []
    if given["report"] is not None:
        page.write(given["report"], records, profile)
        found.append(given["report"])
    if given["save"] is not None:
        rows = "".join(json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n" for one in records)
        artefact.write_text(given["save"], rows, artefact.PRIVATE)
        found.append(given["save"])
    if given["inseq"] is not None:
        for method in dict.fromkeys(result["method"] for one in records for result in one["results"]):
            path = given["inseq"] / f"{method}.json"
            text = json.dumps(exported(records, method), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            artefact.write_text(path, text, artefact.PRIVATE)
            found.append(path)
    return list(map(str, found))


def lines(found: dict[str, Any]) -> list[str]:
    """What is explained of every case, and by each method its strongest tokens, for people."""
    rows = []
    for record in found["records"]:
        name, said = f"{record['input']['name']:20}", ""
        for result in record["results"]:
            if result["explained"] != said:
                said = result["explained"]
                rows.append(f"{name} score: {said}")
            rows.append(f"{name} {result['method']:20} {strongest(record['input'], result)}{doubt(result)}")
        rows += [f"{name} {one['method']:20} {one['reason']}" for one in record["refused"]]
    return rows + [f"wrote {path}" for path in found["files"]]


def strongest(given: dict[str, Any], result: dict[str, Any]) -> str:
    """The tokens with the largest scores, of those that are attributed."""
    scores = result["attribution"]["aggregated"]["token_importance"]["input"]
    free = sorted({i for i, one in enumerate(given["is_special"]) if not one} - set(result["origin"]["fixed"]))
    order = sorted(free, key=lambda i: -abs(scores[i]))[:N_SHOWN]
    return "  ".join(f"{given['tokens'][i].strip()} {scores[i]:+.3g}" for i in order)


def doubt(result: dict[str, Any]) -> str:
    """What to say behind scores that did not come to rest."""
    return "  (not converged)" if result["diagnostics"].get("is_converged") is False else ""
