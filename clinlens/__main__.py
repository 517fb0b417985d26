"""The command line. Heavy imports live inside the verbs, so that `clinlens --help` answers at once."""

import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from clinlens import __version__

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
USER_MISTAKE, OUR_FAILURE, INTERRUPTED = 2, 1, 130
Command = Callable[..., Any]


class Verbs(click.Group):
    """Verbs in the order they were written: the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clinlens")
def cli() -> None:
    """ClinLens opens up a clinical language model: sparse autoencoders on its residual stream, judged and shown.

    CONFIG is a YAML file such as configs/quickstart.yaml; RUN is the folder of a run, or its config.
    """


as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, last on stdout.")
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one setting; may be repeated."
)
config_argument = click.argument("config", type=click.Path(path_type=Path))
run_argument = click.argument("run", type=click.Path(path_type=Path))


def stage_verb(name: str, stages: tuple[str, ...], text: str) -> None:
    """Adds a verb that runs stages of a config."""

    @cli.command(name, help=text)
    @config_argument
    @overrides
    @as_json
    def verb(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
        from clinlens import config as configs
        from clinlens.pipeline import Run

        show(Run(configs.read(config, overrides)).stages(stages), as_json)


ALL_STAGES = ("capture", "train", "evaluate", "examples", "report")
stage_verb("run", ALL_STAGES, "Capture, train, evaluate, gather examples and write the report; skip what is complete.")


@cli.command("screen", help="Search a corpus for what could name a patient; sign it off, or write a redacted copy.")
@config_argument
@overrides
@click.option(
    "--sign-off", "name", metavar="NAME", help="Sign, as NAME, for the corpus as the last screening found it."
)
@click.option("--note", default="", metavar="TEXT", help="What to keep beside the sign-off; no patient text.")
@click.option(
    "--redact-to",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a JSONL copy with each finding of the last screening replaced by its type.",
)
@as_json
def screen_verb(
    config: Path, overrides: tuple[str, ...], name: str | None, note: str, target: Path | None, as_json: bool
) -> None:
    from clinlens import config as configs
    from clinlens.pipeline import Run
    from clinlens.screening import screen

    show(screen.act(Run(configs.read(config, overrides)), name, note, target), as_json)


@cli.command(
    "capture",
    help="Capture activations into HDF5, or what is missing or damaged; with --verify, only check a finished store.",
)
@config_argument
@overrides
@click.option("--verify", is_flag=True, help="Compare checksums, and values with TransformerLens' at the same points.")
@as_json
def capture_verb(config: Path, overrides: tuple[str, ...], verify: bool, as_json: bool) -> None:
    from clinlens import config as configs
    from clinlens.pipeline import Run

    run = Run(configs.read(config, overrides))
    if not verify:
        show(run.stages(("repair",)), as_json)
        return
    from clinlens.verify import verify_store

    show(verify_store(run), as_json)


@cli.command("sweep", help="Run every trial of a sweep (W&B's schema); --dry-run shows what it would take.")
@config_argument
@overrides
@click.option("--dry-run", is_flag=True, help="Print the plan: trials, tokens, time, disk, energy and cost.")
@as_json
def sweep_verb(config: Path, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    from clinlens.sweep import trials

    cfg = trials.read(config, overrides)
    if dry_run:
        from clinlens.sweep.plan import lines, plan

        found = plan(cfg)
        show_lines(found, lines(found), as_json)
        return
    from clinlens.sweep.sweep import sweep, table

    result = sweep(cfg)
    show_lines(result, table(result), as_json)


@cli.command("trial", help="Run one trial of a sweep: what `wandb agent` calls. POINT is JSON or SECTION.KEY=VALUE.")
@config_argument
@click.argument("point", nargs=-1)
@as_json
def trial_verb(config: Path, point: tuple[str, ...], as_json: bool) -> None:
    from clinlens.sweep.trial import trial

    show(trial(config, point), as_json)


stage_verb("train", ("train",), "Train the SAEs of a captured run.")
stage_verb("evaluate", ("evaluate",), "Measure trained SAEs on held-out documents.")
stage_verb("examples", ("examples",), "Gather contexts for every feature.")
stage_verb("report", ("report",), "Write report.html from what the other stages made.")


@cli.command(
    "finetune", help="Train an SAE further on what the model answers with it spliced in; a new one beside the old."
)
@run_argument
@overrides
@click.option("--hook-point", required=True, metavar="NAME", help="Where it reads, such as blocks.3.hook_resid_post.")
@click.option("--sae", "sae_id", metavar="ID", help="Which SAE, where the hook point has several.")
@as_json
def finetune_verb(run: Path, overrides: tuple[str, ...], hook_point: str, sae_id: str | None, as_json: bool) -> None:
    from clinlens.finetune import finetune, lines

    found = finetune(run, hook_point, sae_id, overrides)
    show_lines(found, lines(found), as_json)


format_option = click.option(
    "--format",
    "kind",
    type=click.Choice(["saelens", "sparsify"]),
    default="saelens",
    show_default=True,
    help="Whose format; sparsify's holds TopK SAEs only.",
)


@cli.command("export", help="Write the SAEs of a run for other tools, check how they are read, and add a model card.")
@run_argument
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@format_option
@click.option(
    "--only", default="*", metavar="PATTERN", help="Only SAEs whose HOOK_POINT/SAE_ID match, such as '*/topk-*'."
)
@click.option(
    "--license", "licence", metavar="NAME", help="Licence for the model card, as the Hugging Face hub names it."
)
@click.option("--push", "repo_id", metavar="OWNER/NAME", help="Then upload to this Hugging Face repository.")
@as_json
def export_verb(
    run: Path, target: Path, kind: Any, only: str, licence: str | None, repo_id: str | None, as_json: bool
) -> None:
    from clinlens import config as configs
    from clinlens.export import Publication, export
    from clinlens.pipeline import Run

    show(export(Run(configs.read(run)), target, kind, only, Publication(licence, repo_id)), as_json)


@cli.command("convert", help="Convert one SAE of SAELens, sparsify or Gemma Scope, in FOLDER, to another format.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@format_option
@click.option("--model", metavar="NAME", help="What it was trained on, where its files do not say.")
@click.option("--hook-point", metavar="NAME", help="Where, such as blocks.12.hook_resid_post, likewise.")
@as_json
def convert_verb(
    folder: Path, target: Path, kind: Any, model: str | None, hook_point: str | None, as_json: bool
) -> None:
    from clinlens.conversion import convert

    show(convert(folder, target, kind, model, hook_point), as_json)


@cli.command("attribute", help="Which tokens of a text matter to a token, an answer, a class or an SAE's feature.")
@run_argument
@click.option("--text", metavar="FILE|-", help="The text, from a file or stdin.")
@click.option("--cases", type=click.Path(path_type=Path), metavar="JSONL", help="Many texts, each with what is asked.")
@click.option("--target", help="The next token to explain, with the space before it.")
@click.option("--continuation", metavar="TEXT", help="An answer of several tokens.")
@click.option("--generate", type=click.IntRange(1), metavar="N", help="What the model answers, up to N tokens.")
@click.option("--class", "class_name", metavar="NAME", help="A class of a classifier.")
@click.option(
    "--feature", "features", multiple=True, metavar="HOOK/INDEX", help="An SAE's feature; several are one concept."
)
@click.option("--sae", "sae_id", metavar="ID", help="Which SAE, where a hook point has several.")
@click.option("--position", type=click.IntRange(0), metavar="N", help="Token at which a feature is explained.")
@click.option("--contrast", help="What could stand in the target's place.")
@click.option("--measure", type=click.Choice(["log_odds", "log_prob", "logit"]), help="Score of a target; log_odds.")
@click.option("--total", is_flag=True, help="Explain an answer's tokens as one sum.")
@click.option(
    "--method",
    "--methods",
    "names",
    multiple=True,
    metavar="A,B|all",
    help="Methods; gated_lrp, and of a feature sae_features, if none is named.",
)
@click.option("--set", "settings", multiple=True, metavar="METHOD.KEY=VALUE", help="A setting of a method.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of everything random.")
@click.option("--window", type=click.IntRange(4), metavar="N", help="Read a longer text in windows of N tokens.")
@click.option(
    "--tail", default=32, show_default=True, type=click.IntRange(1), help="Last tokens that stand in every window."
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.html", help="Write heat maps.")
@click.option(
    "--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.jsonl", help="Write the records."
)
@click.option(
    "--inseq",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a file per method as Inseq's.",
)
@click.option("--fresh", is_flag=True, help="Neither take results from the run folder nor keep them there.")
@as_json
def attribute_verb(run: Path, as_json: bool, **options: Any) -> None:
    from clinlens.attribution.command import attribute_command, lines

    found = attribute_command(run, options)
    show_lines(found, lines(found), as_json)


@cli.command("faithfulness", help="Judge every attribution method on cases whose truth is known: one table, one plot.")
@run_argument
@overrides
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME",
    help="clinic, passages, corpus or negation; may be repeated. Those that suit the run if none is named.",
)
@click.option("--methods", default="", metavar="A,B,…", help="Only these; all if not given.")
@as_json
def faithfulness_verb(
    run: Path, overrides: tuple[str, ...], suites: tuple[str, ...], methods: str, as_json: bool
) -> None:
    from clinlens import config as configs
    from clinlens.faithfulness import table
    from clinlens.faithfulness.judge import judge
    from clinlens.pipeline import Run

    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    result = judge(Run(configs.read(run, overrides)), suites, names)
    show_lines(result, table.lines(result), as_json)


@cli.command("steer", help="Amplify, suppress or clamp SAE features while the model answers; what that does and costs.")
@run_argument
@click.option("--feature", "features", multiple=True, metavar="HOOK/INDEX", help="A feature; may be repeated.")
@click.option("--mode", type=click.Choice(["amplify", "suppress", "clamp"]), help="What is done to it.")
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    metavar="S[,S…]",
    help="Factor (amplify), share taken away (suppress), multiple of its largest activation (clamp); several make a curve.",
)
@click.option("--sae", "sae_id", metavar="ID", help="Which SAE, where a hook point has several.")
@click.option("--text", metavar="FILE|-", help="The prompt, from a file or stdin.")
@click.option("--cases", type=click.Path(path_type=Path), metavar="JSONL", help="Many prompts, each with its answer.")
@click.option("--target", metavar="TEXT", help="The answer whose probability is watched, with the space before it.")
@click.option("--contrast", metavar="TEXT", help="What could stand in its place.")
@click.option(
    "--unrelated", type=click.Path(path_type=Path), metavar="JSONL", help="Prompts whose answers should stay."
)
@click.option("--generate", type=click.IntRange(0), metavar="N", help="Most tokens to write for each prompt; 16.")
@click.option("--temperature", type=click.FloatRange(0), help="Of what is written; 0 takes the likeliest token.")
@click.option("--controls", type=click.IntRange(0), metavar="N", help="Matched random features to compare with; 20.")
@click.option("--held-out-tokens", type=click.IntRange(1), metavar="N", help="For perplexity; 8,192.")
@click.option(
    "--destroys-at",
    type=click.FloatRange(1),
    metavar="RATIO",
    help="Perplexity ratio from which a strength is warned of; 1.5.",
)
@click.option("--seed", type=click.IntRange(0), help="Of everything random; 0.")
@click.option("--profile", metavar="NAME", help="Apply a profile that was kept, in the place of features.")
@click.option("--save-profile", metavar="NAME", help="Keep these changes with what was measured of them.")
@click.option("--note", default="", metavar="TEXT", help="What the profile is for; no patient text.")
@click.option("--profiles", type=click.Path(path_type=Path), metavar="DIR", help="Where profiles lie; RUN/profiles.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.html", help="Write a page.")
@as_json
def steer_verb(run: Path, as_json: bool, **options: Any) -> None:
    from clinlens.steer.command import lines, steer_command

    found = steer_command(run, options)
    show_lines(found, lines(found), as_json)


@cli.command(
    "trace", help="A clinical concept across the layers: where it can be told, by which features, what depends on them."
)
@run_argument
@click.option(
    "--concept", required=True, metavar="NAME", help="As spans, labels or you call it, such as 'heart failure'."
)
@click.option(
    "--spans", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Spans, where the corpus has none."
)
@click.option("--words", metavar="A,B,…|FILE", help="The concept is mentioned where one of these words stands.")
@click.option("--from-labels", "is_from_labels", is_flag=True, help="Where features fire that physicians named so.")
@click.option("--sae", metavar="PATTERN", help="Which SAE, where a hook point has several, such as 'topk-*'.")
@click.option("--at", metavar="PATTERN", help="Hook points; blocks.*.hook_resid_post if they were captured, else all.")
@click.option(
    "--attribute", "attributes", multiple=True, metavar="COLUMN", help="Protected attribute; may be repeated."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting, such as unit=document.")
@click.option("--no-ablation", "is_unablated", is_flag=True, help="Measure no effects: the model is not run.")
@click.option("--fresh", "is_fresh", is_flag=True, help="Make the record anew, even if it is there.")
@as_json
def trace_verb(run: Path, as_json: bool, **options: Any) -> None:
    from clinlens.trace.command import lines, trace_command

    found = trace_command(run, options)
    show_lines(found, lines(found), as_json)


@cli.command(
    "audit", help="Protected attributes, drift of new data, failure triage, or the process benchmark of a run's model."
)
@run_argument
@click.argument("kind", type=click.Choice(["protected", "drift", "failures", "process"]))
@click.option("--cohort", type=click.Path(path_type=Path), metavar="JSONL", help="Texts with answers and attributes.")
@click.option(
    "--texts", type=click.IntRange(1), default=600, show_default=True, help="Fresh patients, where it is the clinic."
)
@click.option("--new", type=click.Path(path_type=Path), metavar="FILE", help="drift: documents as the corpus has them.")
@click.option(
    "--expected", type=click.Path(path_type=Path), metavar="YAML", help="process: findings of each diagnosis."
)
@click.option("--sae", metavar="PATTERN", help="Which SAE, where hook points have several, such as 'topk-*'.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the audit.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.html", help="Write a page.")
@as_json
def audit_verb(run: Path, kind: str, as_json: bool, **options: Any) -> None:
    from clinlens.audit.command import audit_command, lines

    found = audit_command(run, kind, options)
    show_lines(found, lines(found), as_json)


@cli.command(
    "quality",
    help="Feature absorption, splitting, sparse probes and targeted effects, on the corpus' annotated concepts.",
)
@run_argument
@click.option("--sae", metavar="PATTERN", help="Only SAEs called so, such as 'topk-*'; all if not given.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting, such as n_bootstraps=1000.")
@click.option("--fresh", "is_fresh", is_flag=True, help="Measure anew, even if the figures are there.")
@as_json
def quality_verb(run: Path, as_json: bool, **options: Any) -> None:
    from clinlens.quality.command import lines, quality_command

    found = quality_command(run, options)
    show_lines(found, lines(found), as_json)


@cli.command(
    "interpret",
    help="Have a language model explain features, and score what it says: by a chat endpoint on this machine, or a local folder. "
    "Passages of the corpus are sent to it.",
)
@run_argument
@click.option("--endpoint", metavar="URL", help="In OpenAI's shape, such as http://127.0.0.1:8000/v1.")
@click.option(
    "--model", required=True, metavar="NAME|FOLDER", help="As the endpoint calls it; or a transformers folder."
)
@click.option("--sae", metavar="PATTERN", help="Only SAEs called so, such as 'topk-*'; all if not given.")
@click.option(
    "--feature",
    "features",
    multiple=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="This feature; may be repeated. Some at random if not given.",
)
@click.option("--key-file", type=click.Path(path_type=Path), help="The endpoint's key; else CLINLENS_ENDPOINT_KEY.")
@click.option(
    "--allow-remote",
    "is_remote_allowed",
    is_flag=True,
    help="The endpoint may be on another machine, where corpus.shareable is true.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting, such as n_features=50.")
@click.option("--fresh", "is_fresh", is_flag=True, help="Ask anew, even if the answers are there.")
@as_json
def interpret_verb(run: Path, as_json: bool, **options: Any) -> None:
    from clinlens.interpret.command import interpret_command, lines

    found = interpret_command(run, options)
    show_lines(found, lines(found), as_json)


@cli.command(
    "serve", help="Show a run's report and its review queue in the browser, on this machine unless told otherwise."
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--demo", is_flag=True, help="With sample raters and judgements; RUN is runs/quickstart if not given.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need TLS or a proxy."
)
@click.option("--port", default=8765, show_default=True, help="Port; 0 takes a free one.")
@click.option(
    "--database", metavar="URL", help="Judgements elsewhere than in RUN/clinlens.db: a file, or postgresql://…"
)
@click.option("--name", "names", multiple=True, metavar="HOST", help="Host name people reach it by; may be repeated.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="PEM", help="Certificate chain, for HTTPS.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="PEM", help="Its private key.")
@click.option(
    "--behind-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address of a proxy that ends TLS; may be repeated.",
)
@click.option(
    "--proxy-user-header", metavar="NAME", help="Header in which that proxy names who signed in (OIDC, SAML)."
)
@click.option(
    "--proxy-secret",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with what it sends as X-ClinLens-Proxy.",
)
@click.option("--require-codes", is_flag=True, help="Everybody must set up one-time codes.")
@click.option(
    "--model", "models", multiple=True, metavar="NAME=FOLDER", help="Another model for the desk; may be repeated."
)
@click.option(
    "--workers",
    "n_workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes for the desk's jobs.",
)
def serve_verb(
    run: Path | None, demo: bool, database: str | None, models: tuple[str, ...], n_workers: int, **options: Any
) -> None:
    from clinlens.serve import named_models, serve, web_config, where

    place = where(run, database, is_demo=demo)
    serve(place, web_config(**options), is_demo=demo, models=named_models(models), n_workers=n_workers)


@cli.group("labels", cls=Verbs, help="Physicians' judgements of a RUN, a database file or a postgresql:// URL.")
def labels_group() -> None:
    """Export, import, merge; verify, backup, restore, checkpoint."""


where_argument = click.argument("where", metavar="RUN|DB|URL")
project_option = click.option("--project", metavar="ID", help="Id or name of the project, where there are several.")


@labels_group.command("export", help="Write judgements, soft labels, codebooks and audit, with a manifest of hashes.")
@where_argument
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@project_option
@click.option("--evidence", is_flag=True, help="Add what raters were shown: TEXT OF THE CORPUS.")
@click.option("--names", is_flag=True, help="Add raters' names beside their pseudonyms.")
@click.option("--agreement", is_flag=True, help="Add the agreement report.")
@click.option(
    "--for",
    "shapes",
    type=click.Choice(["cleanlab", "neuronpedia"]),
    multiple=True,
    help="Add files in another tool's shape; may be repeated.",
)
@as_json
def labels_export_verb(
    where: str, target: Path, project: str | None, shapes: tuple[str, ...], as_json: bool, **added: bool
) -> None:
    from clinlens.labels import export_labels
    from labeling.exchange.export import ExportConfig

    cfg = ExportConfig(**added, cleanlab="cleanlab" in shapes, neuronpedia="neuronpedia" in shapes)
    show(export_labels(where, target, project, cfg), as_json)


@labels_group.command(
    "import", help="Take in an export's folder, or a table of labels (CSV, JSONL); all of it or nothing."
)
@where_argument
@click.argument("source", type=click.Path(path_type=Path), metavar="FOLDER|FILE")
@project_option
@click.option("--institution", metavar="NAME", help="Of a table's raters, where it has no such column.")
@as_json
def labels_import_verb(where: str, source: Path, project: str | None, institution: str | None, as_json: bool) -> None:
    from clinlens.labels import import_labels, lines

    found = import_labels(where, source, project, institution)
    show_lines(found, lines(found), as_json)


@labels_group.command("merge", help="Merge exports or databases of other institutions; nothing comes in twice.")
@where_argument
@click.argument("sources", nargs=-1, required=True, metavar="DB|EXPORT…")
@project_option
@as_json
def labels_merge_verb(where: str, sources: tuple[str, ...], project: str | None, as_json: bool) -> None:
    from clinlens.labels import lines, merge_labels

    found = merge_labels(where, sources, project)
    show_lines(found, lines(found), as_json)


passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its first line encrypts the backup.",
)


@labels_group.command(
    "verify", help="Look for what was changed behind the program's back; exit code 1 if anything was."
)
@where_argument
@click.option("--checkpoints", type=click.Path(path_type=Path), metavar="FILE", help="Signed ones, kept elsewhere.")
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE", help="They were signed with, or its public half."
)
@as_json
def labels_verify_verb(where: str, checkpoints: Path | None, key: Path | None, as_json: bool) -> None:
    from clinlens.labels import verify_labels

    found = verify_labels(where, checkpoints, key)
    show(found, as_json)
    if not found["is_intact"]:
        sys.exit(OUR_FAILURE)


@labels_group.command("backup", help="Copy the database into one file while people work.")
@where_argument
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="File to write to.")
@passphrase_option
@as_json
def labels_backup_verb(where: str, target: Path, passphrase_file: Path | None, as_json: bool) -> None:
    from clinlens.labels import backup_labels

    show(backup_labels(where, target, passphrase_file), as_json)


@labels_group.command("restore", help="Make a database from a backup and verify it; exit code 1 if it is not intact.")
@click.argument("backup", type=click.Path(path_type=Path), metavar="BACKUP")
@click.option("--to", "target", required=True, metavar="DB|URL", help="Absent file, or empty PostgreSQL database.")
@passphrase_option
@as_json
def labels_restore_verb(backup: Path, target: str, passphrase_file: Path | None, as_json: bool) -> None:
    from clinlens.labels import restore_labels

    found = restore_labels(backup, target, passphrase_file)
    show(found, as_json)
    if not found["is_intact"]:
        sys.exit(OUR_FAILURE)


@labels_group.command("checkpoint", help="Append signed proofs of the audit's length to a file that lies elsewhere.")
@where_argument
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="File to append to.")
@click.option("--key", type=click.Path(path_type=Path), required=True, help="Private key; made if it is not there.")
@as_json
def labels_checkpoint_verb(where: str, target: Path, key: Path, as_json: bool) -> None:
    from clinlens.labels import checkpoint_labels

    show(checkpoint_labels(where, target, key), as_json)


@cli.command(
    "agreement",
    help="How far raters agree: the judgements of a RUN, DB, URL or export, or TABLE.csv (a row per item, a column per rater, "
    "blanks where missing).",
)
@click.argument("where", metavar="RUN|DB|EXPORT|TABLE.csv")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE.html", help="Write the whole report; not of a table."
)
@click.option(
    "--study", type=click.Path(path_type=Path), metavar="FILE.yaml", help="What only the lead knows, for the report."
)
@click.option("--codebook", type=click.IntRange(min=1), metavar="N", help="Codebook version to report on.")
@project_option
@click.option(
    "--level",
    type=click.Choice(["nominal", "ordinal", "interval", "ratio", "set"]),
    default="nominal",
    show_default=True,
    help="Of a table: what the answers are; a set's labels are separated by | or ;, and - is the empty set.",
)
@click.option(
    "--categories",
    metavar="A,B,C",
    help="Of a table: all answers the codebook allows; of an ordinal field from lowest to highest.",
)
@click.option("--items", metavar="COLUMN", help="Of a table: the column that names the items, - for none.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the resamples.")
@click.option(
    "--bootstraps", type=click.IntRange(min=100), default=2000, show_default=True, help="Resamples of the items."
)
@as_json
def agreement_verb(where: str, seed: int, bootstraps: int, as_json: bool, **asked: Any) -> None:
    from clinlens import agreement_report

    of_judgements = {name: asked[name] for name in ("report", "study", "codebook", "project")}
    if not agreement_report.is_table(where):
        from labeling.report.config import ReportConfig

        cfg = ReportConfig(n_bootstraps=bootstraps, seed=seed, codebook=of_judgements.pop("codebook"))
        found = agreement_report.make(where, cfg, **of_judgements)
        show_lines(found, agreement_report.lines(found), as_json)
        return
    from clinlens.agreement import TableQuestion, lines, table_agreement
    from labeling.bootstrap import BootstrapConfig

    agreement_report.refuse_options(of_judgements)
    question = TableQuestion(
        asked["level"], asked["categories"], asked["items"], BootstrapConfig(n_bootstraps=bootstraps, seed=seed)
    )
    found = table_agreement(Path(where), question)
    show_lines(found, lines(found), as_json)


@cli.command("doctor", help="Versions, hardware, what is missing and how to get it; of a run, what is done.")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@as_json
def doctor_verb(run: Path | None, as_json: bool) -> None:
    from clinlens.doctor import examine

    show(examine(run), as_json)


def show(result: dict[str, Any], as_json: bool) -> None:
    """Prints a verb's result: one JSON object, or a line for each plain value; a follower of torchrun has none."""
    if not result:
        return
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    for key, value in result.items():
        if isinstance(value, list | dict):
            value = f"{len(value)} (see --json)" if key != "checks" else "\n  " + "\n  ".join(map(str, value))  # noqa: PLW2901
        click.echo(f"{key}: {value}")


def show_lines(result: dict[str, Any], lines: list[str], as_json: bool) -> None:
    """Prints a verb's result as one JSON object, or as a table."""
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else "\n".join(lines))


def quiet_libraries() -> None:
    """Keeps other libraries' bars and notices out of our output, and off the network where they would use it unasked."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main(arguments: list[str] | None = None) -> None:
    """Entry point: turns mistakes into one sentence and an exit code."""
    from clinlens.packages import refuse_strangers
    from sae.errors import JobFailed, UserError

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("clinlens").setLevel(logging.INFO)
    quiet_libraries()
    try:
        refuse_strangers()
        cli.main(args=arguments, prog_name="clinlens", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(USER_MISTAKE)
    except UserError as error:
        click.echo(f"clinlens: {error}", err=True)
        sys.exit(USER_MISTAKE)
    except JobFailed as error:
        click.echo(f"clinlens: {error}", err=True)
        sys.exit(OUR_FAILURE)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        place = error.filename or "the run folder"
        click.echo(
            f"clinlens: {place} cannot be written ({error.strerror}). Free space or choose another `folder`; "
            "what is complete is kept.",
            err=True,
        )
        sys.exit(USER_MISTAKE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("clinlens: interrupted; run the same command again to go on where it stopped.", err=True)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
