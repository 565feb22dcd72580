"""What the comparisons share: contestants that take turns, each turn a process of its own, and their table."""
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_json(command, environment=None):
    """The last line (or the whole) of a command's stdout as JSON; {"problem": its last word} when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"problem": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    text = done.stdout.strip()
    return json.loads(text if text.startswith("{\n") else text.splitlines()[-1])


def take_turns(contestants, turns, show):
    """{name: [result, ...]} and {name: why it was left out}. A contestant is a function without arguments."""
    results, left_out = {name: [] for name in contestants}, {}
    for number in range(turns):
        for name, turn in contestants.items():
            if name in left_out:
                continue
            result = turn()
            if "problem" in result:
                left_out[name] = result["problem"]
                print(f"{name}: left out: {result['problem']}", file=sys.stderr)
                continue
            results[name].append(result)
            print(f"turn {number + 1}: {name} {show(result)}", file=sys.stderr)
    return {name: found for name, found in results.items() if found}, left_out


def median_and_range(results, key):
    values = [result[key] for result in results]
    return statistics.median(values), min(values), max(values)


def write_results(name, document):
    """bench/results/NAME.json"""
    path = ROOT / "bench/results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(f"  wrote {path.relative_to(ROOT)}")
