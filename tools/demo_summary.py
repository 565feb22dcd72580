"""Prints where the demo's results are and what its numbers mean. Arguments: the run and its untrained twin."""

import json
import pathlib
import sys


def top1(run, protocol):
    path = run / "evals" / f"{protocol}.json"
    if not path.exists():
        return None
    metrics = json.loads(path.read_text())["metrics"]
    return metrics["top1"], metrics.get("chance")


def main():
    run, untrained = (pathlib.Path(argument) for argument in sys.argv[1:3])
    print(f"\nreport      {run / 'report.html'}  (open it in a browser)")
    print(f"preview     {run / 'preview.png'}  (original, what the encoder saw, prediction, prediction under the visible patches)")
    print(f"weights     {run / 'checkpoints'}")
    meanings = {
        "knn": "k-NN: a picture gets the class of its nearest neighbours in feature space; nothing is trained",
        "linear": "linear probe: one linear layer is trained on frozen features",
    }
    for protocol, meaning in meanings.items():
        ours, baseline = top1(run, protocol), top1(untrained, protocol)
        if ours is None or baseline is None:
            continue
        chance = "" if ours[1] is None else f", guessing {ours[1]:.1%}"
        print(f"{protocol:<11} {ours[0]:.1%} pre-trained, {baseline[0]:.1%} untrained{chance}")
        print(f"            {meaning}")


main()
