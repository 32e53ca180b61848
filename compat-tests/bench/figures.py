"""The figures that `run` reports: what each is made of, and what it is to reach."""

MORE, LESS = 1, -1
SERVERS = ("ours", "kafka", "fsync", "mock")

# title, key of the sample, how to write a value, whether more or less is better, against whom (a server, or "" for a
# plain number), must, aim. A figure without must and aim is there for the reader.
FIGURES = (
    ("produce 1 KiB, 1 partition, MB/s", "produce 1k 1 mb", "{:.0f}", MORE, "kafka", 1.0, 1.4),
    ("produce 1 KiB, 16 partitions, MB/s", "produce 1k 16 mb", "{:.0f}", MORE, "kafka", 1.0, 1.4),
    ("produce 100 B, 1 partition, records/s", "produce 100 1 records", "{:,.0f}", MORE, "kafka", None, None),
    ("produce 100 B, 16 partitions, records/s", "produce 100 16 records", "{:,.0f}", MORE, "kafka", 1.0, 1.3),
    ("fetch 1 KiB, 48 MB from the cache, MB/s", "fetch cache mb", "{:.0f}", MORE, "kafka", 1.0, 1.3),
    ("fetch 1 KiB, 1.2 GB from the start, MB/s", "fetch start mb", "{:.0f}", MORE, "kafka", 0.7, 1.0),
    ("fetch 100 B, 16 partitions, records/s", "fetch 100 records", "{:,.0f}", MORE, "kafka", 1.0, 1.3),
    ("200/s of 100 B: ack p50, ms", "latency 200 ack_p50_ms", "{:.2f}", LESS, "fsync", 1.0, 0.5),
    ("200/s of 100 B: ack p99, ms", "latency 200 ack_p99_ms", "{:.2f}", LESS, "fsync", 1.0, 0.5),
    ("200/s of 100 B: ack p99.9, ms", "latency 200 ack_p999_ms", "{:.2f}", LESS, "fsync", None, None),
    ("200/s of 100 B: end to end p50, ms", "latency 200 read_p50_ms", "{:.2f}", LESS, "fsync", None, None),
    ("200/s of 100 B: end to end p99, ms", "latency 200 read_p99_ms", "{:.2f}", LESS, "fsync", None, None),
    ("1,000/s of 100 B: ack p50, ms", "latency 1000 ack_p50_ms", "{:.2f}", LESS, "kafka", 2.0, 1.2),
    ("1,000/s of 100 B: ack p99, ms", "latency 1000 ack_p99_ms", "{:.2f}", LESS, "kafka", 3.0, 1.0),
    ("1,000/s of 100 B: ack p99.9, ms", "latency 1000 ack_p999_ms", "{:.2f}", LESS, "kafka", None, None),
    ("1,000/s of 100 B: end to end p50, ms", "latency 1000 read_p50_ms", "{:.2f}", LESS, "kafka", None, None),
    ("1,000/s of 100 B: end to end p99, ms", "latency 1000 read_p99_ms", "{:.2f}", LESS, "kafka", None, None),
    ("1,000/s of 100 B: end to end p99.9, ms", "latency 1000 read_p999_ms", "{:.2f}", LESS, "kafka", None, None),
    ("1,000/s of 100 B: end to end p99 less ack p99, ms", "latency 1000 gap_ms", "{:.2f}", LESS, "", 1, 0.2),
    ("1,000/s of 1 KiB: ack p50, ms", "latency 1000 1k ack_p50_ms", "{:.2f}", LESS, "kafka", 2.0, 1.2),
    ("1,000/s of 1 KiB: ack p99, ms", "latency 1000 1k ack_p99_ms", "{:.2f}", LESS, "kafka", 3.0, 1.0),
    ("1,000/s of 1 KiB: ack p99.9, ms", "latency 1000 1k ack_p999_ms", "{:.2f}", LESS, "kafka", None, None),
    ("1,000/s of 1 KiB: end to end p50, ms", "latency 1000 1k read_p50_ms", "{:.2f}", LESS, "kafka", None, None),
    ("1,000/s of 1 KiB: end to end p99, ms", "latency 1000 1k read_p99_ms", "{:.2f}", LESS, "kafka", None, None),
    ("1,000/s of 1 KiB: end to end p99.9, ms", "latency 1000 1k read_p999_ms", "{:.2f}", LESS, "kafka", None, None),
    ("1,000/s of 1 KiB: end to end p99 less ack p99, ms", "latency 1000 1k gap_ms", "{:.2f}", LESS, "", 1, 0.2),
    ("CPU s per GB, produce 1 KiB, 1 partition", "produce 1k 1 cpu", "{:.2f}", LESS, "kafka", 0.5, 0.3),
    ("CPU s per GB, produce 1 KiB, 16 partitions", "produce 1k 16 cpu", "{:.2f}", LESS, "kafka", 0.5, 0.3),
    ("CPU s per GB, fetch from the cache", "fetch cache cpu", "{:.2f}", LESS, "kafka", 1.0, 0.5),
    ("CPU s per GB, fetch from the start", "fetch start cpu", "{:.2f}", LESS, "kafka", 1.0, 0.5),
    ("RSS idle, MiB", "rss idle", "{:.1f}", LESS, "", 16, 10),
    ("RSS under load, greatest, MiB", "rss load", "{:.0f}", LESS, "", 256, 128),
    ("10,000 idle connections, MiB more", "rss connections", "{:.1f}", LESS, "", 100, 20),
    ("start to first answer, new store, ms", "start new", "{:.1f}", LESS, "", 50, 10),
    ("start to first answer, full store, ms", "start full", "{:.1f}", LESS, "", 50, 10),
    ("size of that store, GB", "store size", "{:.1f}", MORE, "", None, None),
    ("stripped binary, MB", "binary", "{:.2f}", LESS, "", 3, 1.5),
    ("HTTP produce, 64 connections, requests/s", "http requests_s", "{:,.0f}", MORE, "", 20000, 50000),
    ("HTTP produce, p50, ms", "http p50_ms", "{:.2f}", LESS, "", None, None),
    ("HTTP produce, p99, ms", "http p99_ms", "{:.2f}", LESS, "", None, None),
)


def reaches(value, limit, better):
    return value >= limit if better == MORE else value <= limit


def table(values):
    """values: (key, server) -> number. Rows of which nothing was measured are left out."""
    text = ("| figure | this gateway | Apache Kafka | Kafka, fsync per append | mock broker | ratio | must | aim | reached |\n"
            "| --- | --: | --: | --: | --: | --: | --: | --: | --- |\n")
    for title, key, form, better, rival, must, aim in FIGURES:
        if (key, "ours") not in values:
            continue
        cells = [form.format(values[key, server]) if (key, server) in values else "" for server in SERVERS]
        sign, unit = ("≥ ", "x" if rival else "") if better == MORE else ("≤ ", "x" if rival else "")
        judged, ratio = values[key, "ours"], ""
        if rival:
            judged = values[key, "ours"] / max(values[key, rival], 1e-9)
            ratio = f"{judged:.2f}x" + (" of fsync" if rival == "fsync" else "")
        limits, reached = ["", ""], ""
        if must is not None:
            limits = [f"{sign}{limit:g}{unit}" for limit in (must, aim)]
            reached = "aim" if reaches(judged, aim, better) else "must" if reaches(judged, must, better) else "**no**"
        text += f"| {title} | " + " | ".join(cells + [ratio] + limits + [reached]) + " |\n"
    return text
