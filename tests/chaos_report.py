"""The report of runs of chaos: one, or several seeds' together."""

from collections.abc import Sequence
from statistics import median

_COLUMNS = ("injected", "decided", "delivered", "duplicates", "lost", "invented", "cut_short")


def merged(reports: Sequence[dict]) -> dict:
    """Return the reports of several seeds as one of the same form."""
    rows: dict[str, dict] = {}
    for report in reports:
        for row in report["faults"]:
            rows[row["fault"]] = (
                {
                    key: value if key == "fault" else rows[row["fault"]][key] + value
                    for key, value in row.items()
                }
                if row["fault"] in rows
                else row
            )
    first, *others = reports
    total = dict(first["total"])
    for report in others:
        for key, value in report["total"].items():
            total[key] += value
    return {
        "seeds": [seed for report in reports for seed in report["seeds"]],
        "minutes": max(report["minutes"] for report in reports),
        "faults": [rows[name] for name in sorted(rows)],
        "total": total,
        "stop_seconds": max(report["stop_seconds"] for report in reports),
        "steady_lives": [each for report in reports for each in report["steady_lives"]],
        "most_rss_mib": max(report["most_rss_mib"] for report in reports),
        "most_handles": max(report["most_handles"] for report in reports),
        "violations": [
            f"seed {report['seeds'][0]}: {text}" for report in reports for text in report["violations"]
        ],
    }


def table(report: dict) -> str:
    """Render a report as Markdown."""
    head = ["fault", *(column.replace("_", " ") for column in _COLUMNS), "recovery, median (s)", "max (s)"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in report["faults"]:
        seconds = row["recovery_seconds"]
        recovery = [f"{median(seconds):.1f}", f"{max(seconds):.1f}"] if seconds else ["-", "-"]
        lines.append(f"| {' | '.join([row['fault'], *(str(row[each]) for each in _COLUMNS), *recovery])} |")
    total = report["total"]
    seeds = ", ".join(map(str, report["seeds"]))
    lines.append(
        f"\nseed{'s' if len(report['seeds']) > 1 else ''} {seeds}, {report['minutes']:g} minutes each, "
        f"{total['injected']} faults, {total['lives']} processes: {total['decided']} decided, "
        f"{total['acknowledged']} acknowledged, {total['received']} received, "
        f"{total['duplicates']} duplicates, {len(total['lost'])} lost, {len(total['invented'])} invented, "
        f"{total['cut_short']} cut short by kill -9 before safe, "
        f"{total['forgotten_by_broker']} acknowledged and then forgotten by a killed broker"
    )
    lines.append(
        f"exit within {report['stop_seconds']} s; most memory {report['most_rss_mib']} MiB, most handles "
        f"{report['most_handles']}; gained after the warm-up, MiB in minutes: "
        + (", ".join(f"{each['mib']} in {each['minutes']}" for each in report["steady_lives"]) or "-")
    )
    lines += [f"VIOLATION: {text}" for text in report["violations"]] or ["no violation"]
    return "\n".join(lines)
