#!/usr/bin/env python3
"""table.py RESULTS.jsonl: the table of bench/compare.sh, in Markdown. Figures are medians of rounds."""
# SPDX-License-Identifier: Apache-2.0
import json
import sys
from statistics import median

NAMES = {
    "cairn-leader": "Cairn, to leaders", "cairn-any": "Cairn, to any node", "etcd-leader": "etcd, to the leader",
    "etcd-any": "etcd, to any member", "redis": "Redis", "cairn": "Cairn", "etcd": "etcd",
}
# What Cairn's figure is compared with: leaders with leaders, any node with any node.
AGAINST = {"etcd-leader": "cairn-leader", "etcd-any": "cairn-any", "redis": "cairn-leader", "etcd": "cairn"}
LOADS = [
    ("write-1", "write, 1 client"), ("write-64", "write, 64 clients"), ("write-256", "write, 256 clients"),
    ("write-64x16", "write, 64 clients, 16 deep"), ("read-64", "read, 64 clients"),
    ("read-256", "read, 256 clients"), ("read-64x16", "read, 64 clients, 16 deep"),
    ("mix-64", "half reads, half writes, 64 clients"),
]
COLUMNS = ["cairn-leader", "cairn-any", "etcd-leader", "etcd-any", "redis"]
SYSTEMS = ["cairn", "etcd", "redis"]


def failure(run):
    """Why a run counts for nothing."""
    result = run["result"]
    if result.get("errors"):
        count = result.get("all", {}).get("count", 0)
        return f"{result['errors']:,} errors, {count:,} answers; the first: {result.get('first_error', '')}"
    return run["error"] or "no result"


def line(*cells):
    print("| " + " | ".join(cells) + " |")


def ms(us):
    return f"{us / 1000:.2f}" if us < 10000 else f"{us / 1000:.1f}"


def times(ratio):
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


class Results:
    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            self.all = [json.loads(text) for text in f]

    def of(self, row, column=None):
        return [r for r in self.all if r["row"] == row and column in (None, r.get("column"))]

    def good(self, row, column):
        """Runs that measured something without an error."""
        runs = [r for r in self.of(row, column) if r["result"].get("all", {}).get("count")]
        return [r for r in runs if r["result"].get("errors") == 0]

    def value(self, row, column, *path):
        def at(r):
            for name in path:
                r = r[name]
            return r
        values = [at(r) for r in self.good(row, column)]
        return median(values) if values else None


def print_load(x, row, title):
    latency = row == "write-1"  # one client: it is the time that counts
    path = ("result", "all", "p50_us") if latency else ("result", "all", "per_second")
    for column in COLUMNS:
        runs = x.good(row, column)
        tried = len(x.of(row, column))
        if not tried:
            continue
        if not runs:
            line(title, NAMES[column], "failed", "", "", "", "", "", failure(x.of(row, column)[-1]))
            title = ""
            continue
        own = x.value(row, column, *path)
        base = AGAINST.get(column)
        cairn = x.value(row, base, *path) if base else None
        ratio = "" if not cairn else times(own / cairn if latency else cairn / own)
        each = [r["result"]["all"]["per_second"] for r in runs]
        bad = [failure(r) for r in x.of(row, column) if r not in runs]
        note = f"{len(bad)} of {tried} runs failed: {bad[-1]}" if bad else ""
        line(title, NAMES[column], f"{median(each):,.0f}/s", ms(x.value(row, column, "result", "all", "p50_us")),
             ms(x.value(row, column, "result", "all", "p99_us")),
             f"{x.value(row, column, 'server_cores'):.2f} / {x.value(row, column, 'generator_cores'):.2f}", ratio,
             f"{min(each):,.0f} to {max(each):,.0f}/s", note)
        title = ""


def print_figure(x, title, values, show):
    """values: system to (figure, note); less is better."""
    cairn = values.get("cairn")
    for system in SYSTEMS:
        if system not in values:
            continue
        figure, note = values[system]
        ratio = times(figure / cairn[0]) if cairn and system != "cairn" and cairn[0] > 0 else ""
        line(title, NAMES[system], show(figure), "", "", "", ratio, "", note)
        title = ""


def figures(x, row, key):
    return {s: [r[key] for r in x.of(row, s)] for s in SYSTEMS if x.of(row, s)}


def print_gaps(x):
    values = {}
    for system in SYSTEMS:
        runs = x.of("gap", system)
        if not runs:
            continue
        gaps = [r["result"]["gap_ms"] for r in runs if r["result"]]
        if not gaps:
            line("longest write gap", NAMES[system], "failed", "", "", "", "", "", runs[-1]["error"])
            continue
        stuck = sum(not r["result"]["recovered"] for r in runs if r["result"])
        note = "kills: " + ", ".join(f"{g:.0f}" for g in gaps) + " ms" + (f"; {stuck} not over at the end" if stuck else "")
        values[system] = (median(gaps), note)
    print_figure(x, "longest write gap, leader killed, 16 writers", values, lambda v: f"{v:,.0f} ms")


def main():
    x = Results(sys.argv[1])
    s = x.of("settings")[0]
    print(f"{s['date']}, {s['cores']} cores ({s['cpu']}), {s['memory_gib']} GiB, {s['file_system']}, "
          f"Linux {s['kernel']}.")
    print(f"{s['cairn']}; etcd {s['etcd'] or 'not there'}; Redis {s['redis'] or 'not there'}. Three nodes each, all on "
          f"this machine, and the load generator too.")
    print(f"{s['keys']:,} keys, values of {s['value_size']} bytes, {s['rounds']} rounds of {s['seconds']} s, interleaved; "
          f"figures are medians.")
    sync = [r["us"] for r in x.of("fsync")]
    others = [r["other_cores"] for r in x.all if "other_cores" in r]
    if others:
        print(f"fdatasync of 4 KiB: {min(sync)} to {max(sync)} us. Other processes used {median(others):.2f} cores "
              f"(median), {max(others):.2f} (most)" + (": **a disturbed run**." if median(others) > 0.1 else "."))
    for r in x.of("leaders"):
        print("Slots that Cairn's nodes led: " + ", ".join(r["slots"].split()[1::2]) + ".")
    for r in x.of("failed"):
        print(f"**{NAMES[r['system']]}: {r['error']}**")
    print()
    line("measured", "system", "figure", "p50 ms", "p99 ms", "cores: servers / generator", "times", "rounds", "note")
    line(*["---"] * 9)
    for row, title in LOADS:
        print_load(x, row, title)
    print_gaps(x)
    for when, title in (("filled", "memory of a node, filled"), ("worked", "memory of a node, after all runs")):
        peak = figures(x, f"memory-{when}", "peak_mib")
        rss = figures(x, f"memory-{when}", "rss_mib")
        print_figure(x, title, {k: (median(v), f"largest {max(v):,.0f}, peak {max(peak[k]):,.0f} MiB")
                                for k, v in rss.items()}, lambda v: f"{v:,.0f} MiB")
    print_figure(x, "memory of one node at rest, empty",
                 {k: (v[0], "") for k, v in figures(x, "idle", "rss_mib").items()}, lambda v: f"{v:,.1f} MiB")
    print_figure(x, "processor of one node at rest, empty",
                 {k: (v[0] * 100, "") for k, v in figures(x, "idle", "cores").items()}, lambda v: f"{v:.2f} % of a core")
    print_figure(x, "one node, from nothing to the first acknowledged write",
                 {k: (median(v), f"{min(v):,.0f} to {max(v):,.0f}") for k, v in figures(x, "ready", "ms").items()},
                 lambda v: f"{v:,.0f} ms")
    print("\ntimes: how many times better Cairn's figure is than this one (leaders with leaders, any with any; Redis with "
          "Cairn to leaders). Below 1, Cairn is worse.")
    print("Not fair, in short (docs/benchmarks.md says more): Redis acknowledges a write that one replica has received, "
          "not synced, and reads from a primary that may have been replaced; etcd is loaded by its own Go client, which "
          "uses more of the shared cores than Cairn's generator does; Cairn's partitions have leaders on all nodes, the "
          "others have one leader; the clusters that are not measured stay up.")


main()
