#!/usr/bin/env python3
# cost.py - sorts perf's samples into the stages of a request, and draws them. Called by cost.sh.
# SPDX-License-Identifier: Apache-2.0
import json
import re
import sys

import flame

# The first stage of which a function is on the stack, innermost call first, has the sample.
STAGES = [
    ("log: write and sync", r"^(batch_run|log_batch_write|file_worker|log_files_|prepare_run)"),
    ("log: gathering the batch", r"^log_"),
    ("engine: rows written", r"^(rows_flush|rocks_write)"),
    ("engine: flush, compaction", r"^(rocksdb::(DBImpl::BGWork|DBImpl::Background|CompactionJob|FlushJob|ThreadPoolImpl))"),
    ("engine: rows read", r"^(rows_get|rows_get_front|rows_fetch|fetch_run|rocks_get|prefetch_)"),
    ("apply: the op on its rows", r"^(apply_ops|run_ops|commit_ops|replica_apply|op_run|kv_|stage_|windows_)"),
    ("raft: entries, votes, commit", r"^(raft_|entry_(new|ref|unref|encode|decode))"),
    ("reply", r"^(resp_put_result|resp_reply_|conn_flush|flush_output|conn_turn)"),
    ("parse", r"^(resp_parse|resp_conn_|run_input|cmd_|argv_|command_|kv_build)"),
    ("route: gate", r"^(gate_|dispatch|on_outcome|request_on_frame|remote_done|replica_submit|replica_close_batch|replica_turn)"),
    ("network between nodes", r"^mesh_"),
    ("beats, ticks, leases", r"^(on_tick|liveness_|send_beat|tick_replica|control_|send_reports)"),
]


def stage_of(frames, comm):
    for name in frames:
        for stage, pattern in STAGES:
            if re.match(pattern, name):
                return stage
    if comm.startswith("rocksdb"):
        return "engine: flush, compaction"
    if comm.startswith(("log", "catalog")):
        return "log: write and sync"
    if comm.startswith(("rows", "store")):
        return "engine: rows read"
    if any(f in ("read", "__libc_read", "__libc_recv", "readv") for f in frames):
        return "client and peer sockets: read"
    if any(f in ("write", "__GI___libc_write", "__libc_write", "writev", "__libc_sendmsg", "sendmsg") for f in frames):
        return "client and peer sockets: write"
    if any("epoll" in f for f in frames):
        return "waiting: epoll, waking up"
    return "other"


def kind_of(name, dso):
    if "kernel" in dso or dso.startswith("["):
        return "kernel"
    if dso.endswith("cairn"):
        return "cairn"
    return "rocksdb" if "rocksdb" in dso else "library"


def main():
    kind, seconds, hertz, path, drawing = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]
    with open(path) as f:
        result = json.load(f)
    rate = result["all"]["per_second"]
    totals, samples, frames, comm = {}, 0, [], ""
    root = flame.Node("root")

    def close():
        nonlocal samples, frames
        if comm:
            stage = stage_of([name for name, _ in frames], comm)
            totals[stage] = totals.get(stage, 0) + 1
            samples += 1
            known = [(name, kind_of(name, dso)) for name, dso in reversed(frames) if name != "[unknown]"]
            flame.add(root, [(stage, "root")] + known)
        frames = []

    for line in sys.stdin:
        if line.strip() == "":
            close()
            comm = ""
        elif not line.startswith(("\t", "  ")):
            comm = line.split()[0]
        else:
            _, name, dso = re.match(r"\s*(\S+)\s+(.*?)\s*(?:\(([^()]*)\))?$", line).groups()
            frames.append((re.sub(r"\.(lto_priv|isra|constprop|part)\.\d+.*$", "", name), dso or ""))
    close()
    us = samples / hertz / seconds / rate * 1e6
    print(f"one {kind}: {rate:,.0f} a second; {samples / hertz / seconds:.2f} cores of the three nodes: {us:.1f} us of processor time each")
    print(f"\n| stage | us | share |\n| --- | --- | --- |")
    for stage, n in sorted(totals.items(), key=lambda x: -x[1]):
        print(f"| {stage} | {us * n / samples:.1f} | {100 * n / samples:.0f} % |")
    with open(drawing, "w") as f:
        f.write(flame.svg(root, f"one {kind}: processor time of three nodes, by stage", (us, "us")))
    print(f"\ndrawn in {drawing}")


main()
