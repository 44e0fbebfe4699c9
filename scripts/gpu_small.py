"""Train a generator on a stream for some minutes of one GPU, measure it, and pack the results.

    python scripts/gpu_small.py --run run.json --tokenizer FOLDER --minutes 9 --out OUT

Needs torch, numpy, scipy, safetensors, pillow, pydantic, jaxtyping and rich, but no mesh reader.
`run.json` is a `StreamRun` (`g3pt train car-stream-small --write-config run.json`); its stock and
yardsticks are files made beforehand. Results are written to OUT in pieces of at most 15 MB: the
weights folder, one JSON of measurements, and the log of the training.
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded

import torch

PIECE = 15_000_000
"""Largest size of a file in OUT, in bytes."""


def main() -> None:
    """Run all steps; if a late one fails, the results of the earlier ones are kept."""
    arguments = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    from g3pt.config import load_json, to_json
    from g3pt.models.devices import resolve_device
    from g3pt.models.tokenizer import require_tokens
    from g3pt.models.weights.load import load_weights
    from g3pt.training.kinds.stream import StreamRun, StreamTask
    from g3pt.training.loop import train

    started = time.monotonic()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    run = load_json(arguments.run, StreamRun)
    if arguments.minutes:
        run = replace(run, train=replace(run.train, steps=0, minutes=arguments.minutes))
    device = resolve_device(run.train.device)
    report: dict[str, object] = {"machine": describe(device), "run": to_json(run)}
    print(json.dumps(report["machine"]), flush=True)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    tokenizer = require_tokens(
        load_weights(arguments.tokenizer, str(device)).tokenizer, str(arguments.tokenizer)
    )
    car = build(run)
    report["parameters"] = count(car)
    print(json.dumps(report["parameters"]), flush=True)
    task = StreamTask(car, tokenizer, run.data, run.loss, run.watch, seed=run.train.seed)
    folder = arguments.work
    shutil.rmtree(folder, ignore_errors=True)
    try:
        result = train(task, optim=run.optim, config=run.train, run_dir=folder)
        report["trained"] = {"steps": result.step, "loss": result.loss}
    finally:
        keep_log(folder, out)
    report["seconds_to_trained"] = round(time.monotonic() - started, 1)
    report["kept_step"] = load_best(folder, car)
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    export(run, tokenizer, car, out, arguments.work)
    report |= measure(run, task, arguments.objects)
    report["seconds"] = round(time.monotonic() - started, 1)
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(json.dumps(report["summary"]), flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/g3pt-gpu-small"))
    parser.add_argument("--minutes", type=float, default=0.0, help="0 leaves it to the run")
    parser.add_argument("--objects", type=int, default=200, help="of each yardstick, at the end")
    return parser.parse_args()


def describe(device: torch.device) -> dict[str, object]:
    """Versions, GPU, and the speed that matrix products reach on it."""
    about: dict[str, object] = {"torch": torch.__version__, "python": sys.version.split()[0]}
    about["cpus"] = os.cpu_count()
    if device.type != "cuda":
        return about
    about["card"] = torch.cuda.get_device_name(device)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    about["driver"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(10):
        a @ a
    torch.cuda.synchronize()
    about["tflops"] = round(10 * 2 * 8192**3 / (time.perf_counter() - began) / 1e12, 1)
    return about


def build(run):
    """The generator of the run, seeded."""
    from g3pt.models.car import Car

    torch.manual_seed(run.train.seed)
    return Car(run.model)


def count(car) -> dict[str, int]:
    """Parameters by part."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in car.named_children()}
    return {"all": sum(p.numel() for p in car.parameters()), **parts}


def keep_log(folder: Path, out: Path) -> None:
    """Copy the log of the training, also of a failed one."""
    log = folder / "metrics.jsonl"
    if log.is_file():
        shutil.copyfile(log, out / "metrics.jsonl")


def load_best(folder: Path, car) -> int:
    """Load the best averaged weights into the generator, and return their step."""
    from g3pt.training.checkpoint import load_module_tensors, load_newest_checkpoint
    from g3pt.training.loop import BEST_FOLDER

    best = load_newest_checkpoint(folder / BEST_FOLDER)
    if best is None:
        newest = load_newest_checkpoint(folder / "checkpoints")
        assert newest is not None
        load_module_tensors(car, {**newest.tensors["model"], **newest.tensors["ema"]})
        return newest.step
    load_module_tensors(car, best.tensors["model"])
    return best.step


def export(run, tokenizer, car, out: Path, work: Path) -> None:
    """Write the weights folder, large files in pieces."""
    from g3pt.models.sampling import STANDARD
    from g3pt.models.weights.config import WeightsConfig
    from g3pt.models.weights.load import save_weights

    config = WeightsConfig(
        name="g3pt-small",
        compact=("car.", "tokenizer.decoder."),
        tokenizer=tokenizer.config,
        num_points=run.data.num_points,
        sampling=run.watch.sampling.over(STANDARD),
    )
    folder = work / "weights"
    save_weights(folder, tokenizer, car, config=config, card="Trained by scripts/gpu_small.py\n")
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if len(content) <= PIECE:
            (out / path.name).write_bytes(content)
            continue
        for number, start in enumerate(range(0, len(content), PIECE)):
            piece = content[start : start + PIECE]
            (out / f"{path.name}.{number:02d}").write_bytes(piece)


def measure(run, task, num_objects: int) -> dict[str, object]:
    """Measure all yardsticks at full size, and other settings of the sampler on fewer objects."""
    from g3pt.training.kinds.stream import StreamTask, measured_metrics

    task.module.eval()
    final = StreamTask(
        task.module,
        task.tokenizer,
        run.data,
        run.loss,
        replace(run.watch, num_objects=num_objects),
    )
    measures = final.measure()
    objects = {
        one.name: {
            "ids": list(one.ids),
            "flagged": one.flagged_B.tolist(),
            "iou": {name: [round(x, 5) for x in v.tolist()] for name, v in one.iou.items()},
        }
        for one in measures
    }
    summary = {k: round(v, 4) for one in measures for k, v in measured_metrics(one).items()}
    settings = []
    total = task.module.config.num_scales
    scales = [{"num_scales": num} for num in range(max(1, total - 2), total)]
    numbers = [{"temperature": 0.3}, {"temperature": 0.8}, {"guidance": 1.0}, {"guidance": 2.5}]
    for changes in numbers + scales:
        sampling = replace(run.watch.sampling, **changes)
        watch = replace(run.watch, num_objects=min(100, num_objects), sampling=sampling)
        tried = StreamTask(task.module, task.tokenizer, run.data, run.loss, watch).measure()
        ious = {k: v for one in tried for k, v in measured_metrics(one).items() if k[:3] == "iou"}
        settings.append({**asdict(sampling), "iou": ious})
    return {"summary": summary, "settings": settings, "objects": objects}


if __name__ == "__main__":
    main()
