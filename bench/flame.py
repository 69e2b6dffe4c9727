#!/usr/bin/env python3
# flame.py - draws stacks as a flame graph: width is processor time, the caller is below the callee. Used by cost.py.
# SPDX-License-Identifier: Apache-2.0
import html

WIDTH, ROW, TEXT, NARROWEST = 1200, 15, 6.3, 0.6  # pixels; of a row, of a letter, of what is still drawn
COLOURS = {"kernel": "#e8b27d", "cairn": "#8fb8d8", "rocksdb": "#a9cf9b", "library": "#d9cf8a", "root": "#dddddd"}


class Node:
    def __init__(self, kind):
        self.kind, self.count, self.callees = kind, 0, {}


def add(root, frames):
    """frames: (name, kind), outermost first."""
    root.count += 1
    node = root
    for name, kind in frames:
        node = node.callees.setdefault(name, Node(kind))
        node.count += 1


def depth(node, scale):
    drawn = [depth(n, scale) for n in node.callees.values() if n.count * scale >= NARROWEST]
    return 1 + max(drawn, default=0)


def svg(root, title, unit_of_all):
    """unit_of_all: what the whole width stands for, as (number, unit)."""
    scale = WIDTH / max(root.count, 1)
    height = (depth(root, scale) + 2) * ROW + 10
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="monospace" font-size="10.5">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="4" y="{ROW - 3}" font-size="12">{html.escape(title)}</text>',
    ]
    x = WIDTH - 4
    for kind in ("library", "kernel", "rocksdb", "cairn"):
        x -= len(kind) * TEXT + 22
        out.append(f'<rect x="{x:.0f}" y="3" width="10" height="10" fill="{COLOURS[kind]}"/>')
        out.append(f'<text x="{x + 13:.0f}" y="12">{kind}</text>')

    def draw(name, node, left, level):
        width = node.count * scale
        if width < NARROWEST:
            return
        y = height - (level + 1) * ROW - 4
        share = node.count / root.count
        tip = f"{name}: {unit_of_all[0] * share:.2f} {unit_of_all[1]}, {100 * share:.1f} %"
        out.append(
            f'<g><title>{html.escape(tip)}</title><rect x="{left:.1f}" y="{y}" width="{max(width - 0.4, 0.4):.1f}" '
            f'height="{ROW - 1}" fill="{COLOURS[node.kind]}"/>'
        )
        letters = int((width - 4) / TEXT)
        if letters >= 3:
            shown = name if len(name) <= letters else name[: letters - 1] + "…"
            out.append(f'<text x="{left + 2:.1f}" y="{y + ROW - 4}">{html.escape(shown)}</text>')
        out.append("</g>")
        for callee, n in sorted(node.callees.items(), key=lambda x: -x[1].count):
            draw(callee, n, left, level + 1)
            left += n.count * scale

    draw(f"all: {unit_of_all[0]:.1f} {unit_of_all[1]}", root, 0.0, 0)
    out.append("</svg>\n")
    return "\n".join(out)
