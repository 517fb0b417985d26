"""Capture beside its peers, from one forward pass to a whole store, on one random decoder of the GPT-2 kind.

    python benchmarks/capture.py [--quick] [--json] [--plot FILE.png]

Passes, hook after layer 3 of 8, one batch padded on the right, same raw weights, every library with the attention it
takes by itself (ours and the truncated model PyTorch's fused one, TransformerLens' models eager):

- `capture_vs_truncated`: our hooks with early exit against a model that ends after the hooked layer (the limit).
- `capture_vs_hooked_transformer`, `capture_vs_bridge`: against TransformerLens' two models by `run_with_cache` with
  `names_filter` and `stop_at_layer`.

Whole captures:

- `pipeline_vs_saelens_cache`: documents to a finished float32 store of the first four layers, against SAELens'
  CacheActivationsRunner with the faster of its models: one pass of ours, four of its runs, since it keeps one hook point
  a run. The tokens are given to it ready made; we also tokenise, sort, hash and flush to disk.
- `pipeline_vs_saelens_cache_one_point`: the same for one layer. Its HookedProxyLM hears by forward hooks and stops
  early, as we do, so that both are as slow as the model.
- `store_overhead`: a fraction, not a ratio: time of a capture with its store ÷ time of the same passes without, − 1.

In all ratios, above 1 means that ours is faster. Models are loaded before the clock starts.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from benchmarks.harness import peers
from benchmarks.harness.report import Report, Table, arguments_of
from benchmarks.harness.rounds import Way, nothing, race, refuse_difference, spread, timed
from hooks import capture, passage, windows
from hooks.architecture import family_of
from hooks.capture import Job
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.corpus import Document
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel, load
from hooks.part import CaptureParts
from hooks.part import plan as part_plan
from hooks.store import Store
from tests.tiny import WORDS, tiny_tokenizer
from training.engine import prepare

LAYER, N_LAYERS = 3, 8
SHARDS_AT_ONCE = 4
"""Shards of one portion of a capture: one is written while the model is at the next."""
POINT = HookPoint(LAYER, "hook_resid_post")
NOTES = Path(__file__).resolve().parents[2] / "shared" / "materials"
TARGETS = {
    "capture_vs_truncated": "≥ 0.95",
    "capture_vs_hooked_transformer": "≥ 1.15",
    "capture_vs_bridge": "≥ 1.15",
    "pipeline_vs_saelens_cache_one_point": "1: both are as slow as the model",
    "pipeline_vs_saelens_cache": "≥ 1.5",
    "store_overhead": "≤ 0.05 in the full form",
}


class Size(NamedTuple):
    """How large everything is."""

    width: int
    batch: tuple[int, int]
    """Sequences and positions of one pass."""
    pass_rounds: int
    pipeline_tokens: int
    pipeline_rounds: int
    buffer_tokens: int
    """Tokens of one file, ours and SAELens'."""
    overhead_tokens: int
    overhead_shard_tokens: int


FULL = Size(512, (8, 128), 21, 16_384, 5, 8_192, 229_376, 16_384)
QUICK = Size(128, (8, 128), 7, 4_096, 3, 2_048, 24_576, 6_144)


def main() -> None:
    """Runs everything and reports it."""
    arguments = arguments_of(__doc__, tuple(PARTS))
    size = QUICK if arguments.quick else FULL
    prepare(threads=1)
    report = Report(targets=TARGETS)
    report.say(f"GPT-2 kind, random weights in float32, width {size.width}, {N_LAYERS} layers, {POINT}, one thread")
    with tempfile.TemporaryDirectory(prefix="clinlens-benchmark-") as name:
        folder = Path(name)
        peers.save_model(folder / "model", size.width, N_LAYERS)
        hooked = peers.hooked_transformer(folder / "model")
        for title, part in PARTS.items():
            wanted = arguments.part == title or (arguments.part is None and not (arguments.quick and title == "growth"))
            if wanted:
                part(folder, size, hooked, report)
    report.deliver(arguments)


def passes(folder: Path, size: Size, hooked: Any, report: Report) -> None:
    """One batch through the first layers, in every way."""
    whole, cut, bridge = (
        peers.open_model(folder / "model", "eager"),
        peers.truncated(folder / "model", LAYER, "sdpa"),
        peers.bridge(folder / "model"),
    )
    lm = LanguageModel("random", whole, tiny_tokenizer(), "decoder", family_of("gpt2", whole.config), folder)
    default = load(ModelConfig(name=str(folder / "model")))
    ids, mask = right_padded(*size.batch)

    @torch.inference_mode()
    def truncated() -> Tensor:
        return cut(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    runs = {
        "clinlens": lambda: passage.record(default, [POINT], ids, mask)[POINT],
        "truncated": truncated,
        "hooked_transformer": lambda: peers.cached(hooked, ids, str(POINT), LAYER),
        "bridge": lambda: peers.cached(bridge, ids, f"blocks.{LAYER}.hook_out", LAYER),
        "clinlens_eager": lambda: passage.record(lm, [POINT], ids, mask)[POINT],
    }
    expected = runs["clinlens"]()[mask.bool()]
    for name, run in runs.items():
        refuse_difference(name, run()[mask.bool()], expected, 5e-6)
    times = race({name: Way(run) for name, run in runs.items()}, size.pass_rounds)
    for name in ("truncated", "hooked_transformer", "bridge"):
        report.figures[f"capture_vs_{name}"] = times.ratio("clinlens", name)
    n_tokens = int(mask.sum())
    report.say(f"passes: {tuple(ids.shape)} with {n_tokens} tokens, {size.pass_rounds} rounds")
    report.peers |= {f"{name}_tokens_per_s": n_tokens / times.median(name) for name in runs}


def right_padded(n_sequences: int, n_positions: int) -> tuple[Tensor, Tensor]:
    """Random tokens, and their mask: lengths as sorting leaves them, from 7/8 of the positions to all."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.linspace(n_positions * 7 // 8, n_positions, n_sequences).long()
    mask = (torch.arange(n_positions) < lengths[:, None]).long()
    ids = torch.randint(4, 90, (n_sequences, n_positions), generator=generator)
    return ids.where(mask.bool(), 3), mask


def documents(lengths: list[int]) -> list[Document]:
    """Texts of random words, one token each."""
    draw = random.Random(0)  # noqa: S311 - no secret
    return [Document(index, str(index), " ".join(draw.choices(WORDS, k=n))) for index, n in enumerate(lengths)]


def ordinary_documents(n_tokens: int) -> list[Document]:
    """Texts of log-normal lengths, as clinical notes have them, of so many tokens in all, a little more."""
    draw, lengths = random.Random(1), list[int]()  # noqa: S311
    while sum(lengths) < n_tokens:
        lengths.append(min(max(int(draw.lognormvariate(4.6, 0.9)), 8), 2000))
    return documents(lengths)


def job_of(folder: Path, **settings: Any) -> Job:
    """A capture of one hook point with the defaults of the product."""
    chosen: dict[str, Any] = {"hook_points": (str(POINT),)} | settings
    return Job(ModelConfig(name=str(folder / "model")), CorpusConfig(name="random words"), CaptureConfig(**chosen), 0)


def make(job: Job, docs: list[Document], folder: Path) -> Store:
    """A whole capture."""
    plan = capture.prepare(job, docs, load(job.model), folder)
    for task in plan.tasks(1):
        task.run(nothing)
    return capture.conclude(plan)


def pipelines(folder: Path, size: Size, hooked: Any, report: Report) -> None:
    """Documents to files, ours and SAELens'; every document fills one window, since SAELens knows no shorter ones."""
    context, batch_tokens, ours = 128, 2048, folder / "ours"
    docs = documents([context - 1] * (size.pipeline_tokens // context))  # BOS is the first
    settings = {"context_tokens": context, "batch_tokens": batch_tokens, "shard_tokens": size.buffer_tokens}
    job, smaller = job_of(folder, **settings, dtype="float32"), job_of(folder, **settings)
    points = tuple(str(HookPoint(layer, POINT.kind)) for layer in range(LAYER + 1))
    four = job_of(folder, **settings, dtype="float32", hook_points=points)
    lm = load(job.model)
    tokens = torch.tensor([doc.token_id.tolist() for doc in windows.tokenise(docs, lm, job.corpus, job.capture)])

    def cache(model: Any, layer: int) -> peers.SAELensCache:
        return peers.SAELensCache(
            folder / "model",
            tokens,
            output=folder / f"saelens-{layer}",
            model=model,
            point=HookPoint(layer, POINT.kind),
            width=size.width,
            tokens_per_buffer=size.buffer_tokens,
            batch_tokens=batch_tokens,
        )

    def clear() -> None:
        shutil.rmtree(ours, ignore_errors=True)

    caches = {"saelens_hooked_proxy_lm": cache(None, LAYER), "saelens_hooked_transformer": cache(hooked, LAYER)}
    store = make(job, docs, ours)
    for name, peer in caches.items():
        peer.prepare()
        peer.run()
        for window in (0, len(docs) // 2, len(docs) - 1):
            refuse_difference(name, peer.values(window), rows_of(store, window), 5e-6)
    clear()
    ways = {
        "clinlens": Way(lambda: make(job, docs, ours), clear, clear),
        "clinlens_float16": Way(lambda: make(smaller, docs, ours), clear, clear),
        **{name: Way(peer.run, peer.prepare) for name, peer in caches.items()},
    }
    times = race(ways, size.pipeline_rounds)
    fastest = min(caches, key=times.median)
    report.figures["pipeline_vs_saelens_cache_one_point"] = times.ratio("clinlens", fastest)
    each = [cache(None if fastest == "saelens_hooked_proxy_lm" else hooked, layer) for layer in range(LAYER + 1)]
    both = {
        "clinlens": Way(lambda: make(four, docs, ours), clear, clear),
        "saelens": Way(lambda: [peer.run() for peer in each], lambda: [peer.prepare() for peer in each]),
    }
    again = race(both, max(size.pipeline_rounds // 2, 2))
    report.figures["pipeline_vs_saelens_cache"] = again.ratio("clinlens", "saelens")
    report.say(
        f"pipelines: {tokens.numel()} tokens in windows of {context}, batches of {batch_tokens}, files of "
        f"{size.buffer_tokens}, float32, {size.pipeline_rounds} rounds; SAELens at its fastest is {fastest}"
    )
    report.peers |= {f"pipeline_{name}_tokens_per_s": tokens.numel() / times.median(name) for name in ways}
    report.peers |= {f"pipeline_4_points_{name}_tokens_per_s": tokens.numel() / again.median(name) for name in both}


def rows_of(store: Store, document: int) -> Tensor:
    """The stored rows of a document."""
    for reader in store.shards("train") + store.shards("held_out"):
        rows = (reader.index["document"] == document).nonzero()[0]
        if len(rows):
            return reader.acts(str(POINT), int(rows[0]), int(rows[-1]) + 1)
    raise SystemExit(f"Our store lacks document {document}.")


def overhead(folder: Path, size: Size, _hooked: Any, report: Report) -> None:
    """Shard by shard, the passes alone beside the passes with their store."""
    job = job_of(folder, shard_tokens=size.overhead_shard_tokens)
    docs, lm, output = ordinary_documents(size.overhead_tokens), load(job.model), folder / "overhead"
    start = time.perf_counter()
    plan = capture.prepare(job, docs, lm, output)
    planned = time.perf_counter() - start
    alone, stored = list[float](), list[float]()
    tasks = plan.tasks(max(plan.n_shards // SHARDS_AT_ONCE, 1))
    run_passes(tasks[-1], lm)  # warms up
    for number, task in enumerate(tasks):
        ways = [
            (alone, Way(lambda task=task: run_passes(task, lm))),
            (stored, Way(lambda task=task: task.run(nothing))),
        ]
        for times, way in ways if number % 2 else reversed(ways):
            times.append(timed(way).seconds)
    concluded = timed(Way(lambda: capture.conclude(plan))).seconds
    report.figures["store_overhead"] = spread([b / a - 1 for a, b in zip(alone, stored, strict=True)])
    n_tokens = plan.n_tokens
    report.say(
        f"store overhead: {n_tokens} tokens of random notes in {plan.n_shards} shards of at most "
        f"{size.overhead_shard_tokens}, {sum(stored):.0f} s with the store and {sum(alone):.0f} s without"
    )
    report.peers |= {
        "store_overhead_of_the_sums": (sum(stored) + concluded) / sum(alone) - 1,
        "capture_with_store_tokens_per_s": n_tokens / sum(stored),
        "capture_without_store_tokens_per_s": n_tokens / sum(alone),
        "tokenise_and_plan_tokens_per_s": n_tokens / planned,
    }
    shutil.rmtree(output)


def run_passes(task: CaptureParts, lm: LanguageModel) -> None:
    """The passes of some shards, their values dropped."""
    cfg = task.capture
    for part in task.parts:
        for batch in windows.batches(
            part.tokens, windows.frame_of(lm, cfg), cfg.batch_tokens, lm.tokenizer.pad_token_id
        ):
            passage.record(lm, task.points, batch.input_ids, batch.attention_mask)


def grow_points(folder: Path, report: Report) -> None:
    """One pass to the last layer, more and more of its layers kept."""
    docs, output = ordinary_documents(8_192), folder / "growing"
    chosen = {n: [*range(N_LAYERS // n - 1, N_LAYERS, N_LAYERS // n)] for n in (1, 2, 4, 8)}

    def clear() -> None:
        shutil.rmtree(output, ignore_errors=True)

    jobs = {n: job_of(folder, hook_points=tuple(f"blocks.{i}.hook_resid_post" for i in at)) for n, at in chosen.items()}
    times = race({str(n): Way(lambda job=job: make(job, docs, output), clear, clear) for n, job in jobs.items()}, 3)
    n_tokens = sum(len(doc.text.split()) for doc in docs)
    rows = [[n, n_tokens / times.median(str(n)), times.ratio("1", str(n)).value] for n in jobs]
    columns = ["hook points", "tokens per s", "time ÷ one point"]
    report.tables.append(Table("Hook points: documents to store, always to the last layer", columns, rows))


def grow_tokens(folder: Path, report: Report) -> None:
    """More and more documents."""
    output, rows = folder / "growing", []

    def clear() -> None:
        shutil.rmtree(output, ignore_errors=True)

    corpora = {n: ordinary_documents(n) for n in (4_096, 8_192, 16_384, 32_768)}
    job = job_of(folder, shard_tokens=8_192)
    ways = {str(n): Way(lambda docs=docs: make(job, docs, output), clear, clear) for n, docs in corpora.items()}
    times = race(ways, 3)
    for n, docs in corpora.items():
        n_tokens = sum(len(doc.text.split()) for doc in docs)
        rows.append([n_tokens, n_tokens / times.median(str(n)), times.median(str(n))])
    report.tables.append(
        Table("Tokens: documents to store, one hook point", ["tokens", "tokens per s", "seconds"], rows)
    )


def growth(folder: Path, _size: Size, _hooked: Any, report: Report) -> None:
    """How cost grows with hook points and tokens, and what padding wastes."""
    grow_points(folder, report)
    grow_tokens(folder, report)
    padding(report)


def padding(report: Report) -> None:
    """Useful tokens ÷ tokens with padding on real notes, in our batches and in order of arrival."""
    notes, model = NOTES / "text" / "mts_dialog.jsonl", NOTES / "lm" / "stories260k"
    if not notes.is_file() or not model.is_dir():
        report.say("padding: left out, there are no real notes in ../shared/materials beside the project")
        return
    texts = [json.loads(line)["text"] for line in notes.read_text(encoding="utf-8").splitlines()]
    docs = [Document(index, str(index), text) for index, text in enumerate(texts)]
    lm, rows = load(ModelConfig(name=str(model))), []
    corpus = CorpusConfig(name=str(notes), short_documents="skip")
    for batch_tokens in (1024, 2048, 4096, 8192, 16_384):
        cfg = CaptureConfig(batch_tokens=batch_tokens)
        tokens = windows.tokenise(docs, lm, corpus, cfg)
        sides = capture.split_of(docs, Job(ModelConfig(), corpus, cfg, 0))
        parts, frame = part_plan(tokens, sides, cfg.shard_tokens), windows.frame_of(lm, cfg)
        masks = [
            batch.attention_mask for part in parts for batch in windows.batches(part.tokens, frame, batch_tokens, 0)
        ]
        rows.append([batch_tokens, useful(masks), useful(arrival_masks(tokens, frame, batch_tokens)), len(masks)])
    columns = ["batch tokens", "useful share", "in order of arrival", "batches"]
    cfg = CaptureConfig()
    title = f"Padding: {len(docs)} real notes, windows of {cfg.context_tokens}, shards of {cfg.shard_tokens} tokens"
    report.tables.append(Table(title, columns, rows))


def useful(masks: list[Tensor]) -> float:
    """Share of the positions that hold text."""
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def arrival_masks(tokens: list[windows.Tokens], frame: windows.Frame, batch_tokens: int) -> list[Tensor]:
    """The masks of batches of as many windows as would fit at full length, unsorted."""
    found, n = windows.windows(tokens, frame), batch_tokens // frame.context_tokens
    return [windows.padded(found[start : start + n], 0).attention_mask for start in range(0, len(found), n)]


PARTS = {"passes": passes, "pipelines": pipelines, "overhead": overhead, "growth": growth}


if __name__ == "__main__":
    main()
