"""`plan`, and a resume with everything done, on a table of 1,000,000 rows, at 1,000 and at 10,000 receipts.

    python -m benchmarks.million [--rows 1000000] [--receipts 1000 10000]

The table has names and captions only: there is no image behind a name, so that the build, which is real, quarantines
every row, each with its reason. Goals: under a minute and under 1 GiB each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.many_images import write_manifest
from benchmarks.report import MASKMINE, machine, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--receipts", type=int, nargs="+", default=[1_000, 10_000])
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "names.jsonl"
        with open(table, "w") as lines:
            for row in range(options.rows):
                values = {"id": f"{row:07d}", "image": f"{row % 1000:03d}/{row:07d}.jpg"}
                lines.write(json.dumps({**values, "caption": f"a dog and photo number {row}"}) + "\n")
        manifest = write_manifest(folder, table)
        for receipts in sorted(options.receipts):
            settings = ["--set", "source.scan=names", "--set", f"shards.images_per_shard={options.rows // receipts}"]
            build = [*MASKMINE, "build", str(manifest), "--out", str(folder / f"out{receipts}"), "--runner", "loop"]
            for what, command in (
                ("plan", [*MASKMINE, "plan", str(manifest), "--sample", "0", *settings]),
                ("build (all quarantined)", [*build, *settings]),
                ("resume, all done", [*build, *settings]),
            ):
                found = measure(command)
                figures = f"{found.wall_s:.1f} s wall, {found.cpu_s:.1f} s processor, peak {found.peak_mib:.0f} MiB"
                print(f"{options.rows:,} rows, {receipts:,} receipts: {what}: {figures}", flush=True)


if __name__ == "__main__":
    main()
