"""What writers sent and were told, what readers saw, and whether that can be: DESIGN.md's invariants over one run.

Events are lines; times are CLOCK_MONOTONIC in nanoseconds, one clock for all processes of a run:

    s TIME WRITER N PARTITION                  a record is sent: the N-th of its writer
    a TIME WRITER N PARTITION OFFSET           acknowledged
    f TIME WRITER N PARTITION REASON           refused: surely not stored
    u TIME WRITER N PARTITION REASON           nobody knows
    g WRITER N N ...                           these records are one batch: whole or not at all, side by side
    e BEGAN ENDED PARTITION OFFSET             somebody asked for the end of the partition and was told OFFSET
    m BEGAN ENDED CODE                         somebody asked whether the topic is there: Kafka's error code
    r READER PARTITION OFFSET WRITER N STATE   a reader got this record; STATE is good or bad (not the bytes sent)
    b READER PARTITION OFFSET                  where the log begins, as the reader was told

A reader whose name begins with "final" has read everything there is, from the start to the end, after the last fault;
others read along. Writers in `ordered` send without waiting, and their records of one partition must stand in the order in
which they were sent (an idempotent producer's). A record may appear at most once, whoever wrote it: no client here sends
one twice but the idempotent producer.

Value N of a writer follows from both names, so that a reader can tell whether the bytes are those sent.
"""
UNKNOWN_TOPIC = 3
FINAL = "final"


def value(writer, n):
    """A JSON string, so that both doors take and give the same bytes; a few are large. clients/kafka.c makes the same."""
    mixed = n * 2654435761
    for byte in writer.encode():
        mixed = (mixed ^ byte) * 0x01000193 & 0xffffffff
    size = 40 + (mixed >> 8) % (20000 if (mixed >> 24) % 16 == 0 else 300)
    start = f'"{writer} {n} '
    return (start + chr(ord("a") + mixed % 26) * (size - len(start) - 1) + '"').encode()


def identify(got):
    """(writer, n, "good" or "bad") of a value that was read."""
    words = got[1:64].split(b" ")
    try:
        writer, n = words[0].decode(), int(words[1])
    except (IndexError, ValueError, UnicodeDecodeError):
        return "?", -1, "bad"
    return writer, n, "good" if value(writer, n) == got else "bad"


class History:
    def __init__(self, ordered=()):
        self.ordered = set(ordered)
        self.sent, self.acked, self.refused, self.unknown = {}, {}, {}, {}
        self.batches, self.ends, self.metadata = [], [], []
        self.readings = {}  # reader -> partition -> [(offset, writer, n, state)]
        self.begins = {}    # (reader, partition) -> offset

    def add(self, line):
        kind, *rest = line.split()
        if kind in "safu":
            time, writer, n, partition = int(rest[0]), rest[1], int(rest[2]), int(rest[3])
            if kind == "s":
                self.sent[writer, n] = (time, partition)
            elif kind == "a":
                self.acked[writer, n] = (time, partition, int(rest[4]))
            else:
                (self.refused if kind == "f" else self.unknown)[writer, n] = (time, partition, " ".join(rest[4:]))
        elif kind == "g":
            self.batches.append([(rest[0], int(n)) for n in rest[1:]])
        elif kind == "e":
            self.ends.append(tuple(int(word) for word in rest))
        elif kind == "m":
            self.metadata.append(tuple(int(word) for word in rest))
        elif kind == "r":
            reader, partition, offset, writer, n, state = rest
            self.readings.setdefault(reader, {}).setdefault(int(partition), []).append(
                (int(offset), writer, int(n), state))
        elif kind == "b":
            self.begins[rest[0], int(rest[1])] = int(rest[2])
        else:
            raise ValueError(f"no event begins with {kind}")

    def finals(self):
        return sorted(reader for reader in self.readings if reader.startswith(FINAL))

    def check(self):
        """Findings, each "NAME: sentence"; none when all holds."""
        finals = self.finals()
        if not finals:
            return ["no-reading: nobody has read the log after the run"]
        self.log = {}  # (partition, offset) -> (writer, n), as the first final reader saw it
        for partition, records in self.readings[finals[0]].items():
            for offset, writer, n, _ in records:
                self.log[partition, offset] = (writer, n)
        self.places = {}
        for place, record in sorted(self.log.items()):
            self.places.setdefault(record, []).append(place)
        checks = (self.check_readings, self.check_agreement, self.check_sent, self.check_acknowledged,
                  self.check_refused, self.check_order, self.check_real_time, self.check_batches, self.check_ends,
                  self.check_metadata)
        return [finding for check in checks for finding in check()]

    def check_readings(self):
        """Every reader: whole values, offsets without a hole; the final ones from the beginning of the log."""
        for reader, partitions in sorted(self.readings.items()):
            for partition, records in sorted(partitions.items()):
                due = self.begins.get((reader, partition), records[0][0])
                for offset, writer, n, state in records:
                    if offset != due:
                        yield (f"gap: {reader} got offset {offset} of partition {partition} where {due} was due")
                    if state != "good":
                        yield f"bytes: {reader} got other bytes than were sent at {partition}/{offset} ({writer} {n})"
                    due = offset + 1

    def check_agreement(self):
        """All readers saw the same record at an offset; the final ones as many."""
        finals = self.finals()
        for reader, partitions in sorted(self.readings.items()):
            for partition, records in sorted(partitions.items()):
                for offset, writer, n, _ in records:
                    seen = self.log.get((partition, offset))
                    if seen is None:
                        yield (f"vanished: {reader} read {writer} {n} at {partition}/{offset}, where {finals[0]} found "
                               f"nothing")
                    elif seen != (writer, n):
                        yield (f"changed: {partition}/{offset} is {writer} {n} to {reader} and {seen[0]} {seen[1]} to "
                               f"{finals[0]}")
        for reader in finals[1:]:
            count = sum(len(records) for records in self.readings[reader].values())
            if count < len(self.log):
                yield f"vanished: {reader} read {count} of the {len(self.log)} records that {finals[0]} read"

    def check_sent(self):
        """What is there was sent, to this partition, once."""
        for (writer, n), places in sorted(self.places.items()):
            if (writer, n) not in self.sent:
                yield f"phantom: nobody sent {writer} {n}, which stands at {places[0][0]}/{places[0][1]}"
                continue
            if len(places) > 1:
                yield f"doubled: {writer} {n} stands at " + " and ".join(f"{p}/{o}" for p, o in places)
            if places[0][0] != self.sent[writer, n][1]:
                yield f"misplaced: {writer} {n} was sent to partition {self.sent[writer, n][1]}, not {places[0][0]}"

    def check_acknowledged(self):
        for (writer, n), (_, partition, offset) in sorted(self.acked.items()):
            found = self.log.get((partition, offset))
            if (writer, n) not in self.places:
                yield f"lost: {writer} {n} was acknowledged at {partition}/{offset} and is nowhere"
            elif found != (writer, n):
                yield f"moved: {writer} {n} was acknowledged at {partition}/{offset}, where {found} stands"

    def check_refused(self):
        for (writer, n), (_, _, reason) in sorted(self.refused.items()):
            if (writer, n) in self.places:
                yield f"refused-but-there: {writer} {n} was refused ({reason}) and stands at {self.places[writer, n]}"

    def check_order(self):
        """I5 of writers that do not wait for answers."""
        last = {}
        for (partition, offset), (writer, n) in sorted(self.log.items()):
            if writer in self.ordered:
                if n <= last.get((writer, partition), -1):
                    yield (f"order: {writer} {n} stands at {partition}/{offset}, behind its {last[writer, partition]}")
                last[writer, partition] = n

    def check_real_time(self):
        """A send that was answered before another began stands before it. One sweep: the greatest offset that was
        acknowledged before a time against the offsets of what was sent after it."""
        events = []
        for (writer, n), (time, partition, offset) in self.acked.items():
            events.append((time, 1, partition, offset, writer, n))
        for record, places in self.places.items():
            if record in self.sent:
                for partition, offset in places:
                    events.append((self.sent[record][0], 0, partition, offset, *record))
        greatest = {}
        for _, answered, partition, offset, writer, n in sorted(events):
            if answered:
                greatest[partition] = max(greatest.get(partition, (-1,)), (offset, writer, n))
            elif partition in greatest and offset < greatest[partition][0]:
                before = greatest[partition]
                yield (f"real-time: {writer} {n} was sent after {before[1]} {before[2]} was acknowledged, and stands "
                       f"before it: {offset} < {before[0]} in partition {partition}")

    def check_batches(self):
        for batch in self.batches:
            places = [self.places.get(record, [None])[0] for record in batch]
            if all(place is None for place in places):
                continue
            if None in places or any(b != (a[0], a[1] + 1) for a, b in zip(places, places[1:])):
                yield f"torn: the batch that begins with {batch[0][0]} {batch[0][1]} stands at {places}"

    def check_ends(self):
        """I6: an end that was told is never below what was acknowledged or told before it was asked for."""
        events = [(time, 1, partition, offset + 1) for time, partition, offset in self.acked.values()]
        for began, ended, partition, offset in self.ends:
            events.append((ended, 1, partition, offset))
            events.append((began, 0, partition, offset))
        greatest = {}
        for time, told, partition, offset in sorted(events):
            if told:
                greatest[partition] = max(greatest.get(partition, 0), offset)
            elif offset < greatest.get(partition, 0):
                yield (f"stale-end: partition {partition} was said to end at {offset} after {greatest[partition]} was "
                       f"known ({time})")

    def check_metadata(self):
        for began, _, code in self.metadata:
            if code == UNKNOWN_TOPIC:
                yield f"unknown-topic: the topic was called unknown ({began})"

    def summary(self):
        return (f"{len(self.sent)} sent, {len(self.acked)} acknowledged, {len(self.refused)} refused, "
                f"{len(self.unknown)} unknown, {len(self.ends)} ends asked, "
                f"{sum(len(r) for p in self.readings.values() for r in p.values())} reads by {len(self.readings)} readers")
