#!/usr/bin/env python3
"""The checker can fail: a history that is right, and the same with one thing wrong in it, which must be found by its name."""
import random
import unittest

from history import History, identify, value


def right():
    """Events of a run that is right: two writers that wait and one that does not, two partitions, unknown and refused
    ones, a batch, readers of every kind."""
    dice = random.Random(5)
    events, ends, time, log = [], [10, 0], 0, []
    for n in range(60):
        for writer in ("h1", "h2", "k1"):
            partition = n % 2
            time += 10
            events.append(f"s {time} {writer} {n} {partition}")
            fate = dice.random()
            stored = fate < 0.9
            if stored:
                log.append((partition, ends[partition], writer, n))
                ends[partition] += 1
            time += 10
            events.append(f"a {time} {writer} {n} {partition} {ends[partition] - 1}" if fate < 0.8 else
                          f"u {time} {writer} {n} {partition} timeout" if fate < 0.95 else
                          f"f {time} {writer} {n} {partition} not_now")
        time += 10
        events.append(f"e {time} {time + 5} {partition} {ends[partition]}")
        events.append(f"m {time} {time + 5} 0")
    for n in (100, 101, 102):
        events.append(f"s {time} b1 {n} 0")
        log.append((0, ends[0], "b1", n))
        events.append(f"a {time + 5} b1 {n} 0 {ends[0]}")
        ends[0] += 1
    events.append("g b1 100 101 102")
    for reader in ("final-a", "final-b", "tail"):
        events += [f"b {reader} 0 10", f"b {reader} 1 0"] if reader != "tail" else []
        events += [f"r {reader} {p} {o} {w} {n} good" for p, o, w, n in sorted(log) if reader != "tail" or o < 40]
    return events


def findings(events):
    history = History(ordered=["k1"])
    for event in events:
        history.add(event)
    return sorted({finding.split(":")[0] for finding in history.check()})


class HistoryTest(unittest.TestCase):
    def setUp(self):
        self.events = right()

    def fields(self, kind, index):
        """The index-th event of a kind, in words, and where it stands."""
        at = [i for i, event in enumerate(self.events) if event.startswith(kind + " ")][index]
        return at, self.events[at].split()

    def put(self, at, words):
        self.events[at] = " ".join(str(word) for word in words)

    def everywhere(self, wanted, change):
        """Changes each reading of one record; None takes it away."""
        self.events = [changed for event in self.events
                       for changed in [change(event) if event.startswith("r ") and wanted in event else event]
                       if changed is not None]

    def test_what_is_right_is_found_right(self):
        self.assertEqual(findings(self.events), [])

    def test_no_reading(self):
        self.assertEqual(findings([e for e in self.events if not e.startswith("r final")]), ["no-reading"])

    def test_lost_at_the_end(self):
        self.everywhere(" b1 102 ", lambda _: None)
        self.assertIn("lost", findings(self.events))
        self.assertIn("torn", findings(self.events))

    def test_lost_in_the_middle_is_a_gap_too(self):
        _, words = self.fields("a", 20)
        self.everywhere(f" {words[2]} {words[3]} ", lambda _: None)
        self.assertEqual(findings(self.events), ["gap", "lost"])

    def append(self, record):
        """Both final readers find one more at the end of partition 1."""
        for reader in ("final-a", "final-b"):
            last = [e for e in self.events if e.startswith(f"r {reader} 1")][-1].split()
            self.events.append(f"r {reader} 1 {int(last[3]) + 1} {record} good")

    def test_doubled(self):
        first = [e for e in self.events if e.startswith("r final-a 1")][0].split()
        self.append(f"{first[4]} {first[5]}")
        self.assertEqual([f for f in findings(self.events) if f != "order"], ["doubled"])

    def test_phantom(self):
        self.append("h9 1")
        self.assertEqual(findings(self.events), ["phantom"])

    def test_moved(self):
        at, words = self.fields("a", 20)
        words[5] = int(words[5]) + 2
        self.put(at, words)
        self.assertIn("moved", findings(self.events))

    def test_refused_but_there(self):
        stored = [self.fields("u", i) for i in range(10)]
        at, words = next((at, words) for at, words in stored
                         if any(f" {words[2]} {words[3]} good" in e for e in self.events))
        self.put(at, ["f"] + words[1:])
        self.assertEqual(findings(self.events), ["refused-but-there"])

    def test_bytes(self):
        at, words = self.fields("r", 5)
        self.put(at, words[:-1] + ["bad"])
        self.assertEqual(findings(self.events), ["bytes"])

    def test_changed_between_readers(self):
        at, words = self.fields("r tail", 5)
        self.put(at, words[:-2] + [int(words[-2]) + 1, "good"])
        self.assertEqual(findings(self.events), ["changed"])

    def test_vanished_after_it_was_read(self):
        self.events.append("r tail2 1 900 h1 59 good")
        self.assertEqual(findings(self.events), ["vanished"])

    def test_vanished_for_one_of_the_final_readers(self):
        self.events = [e for e in self.events if not e.startswith("r final-b 1")]
        self.assertEqual(findings(self.events), ["vanished"])

    def test_a_log_that_does_not_begin_where_it_should(self):
        self.events = [e for e in self.events if not e.startswith(("r final-a 0 10 ", "r final-b 0 10 ", "r tail 0 10 "))]
        self.assertIn("gap", findings(self.events))

    def test_order_of_one_that_does_not_wait(self):
        places = [e.split() for e in self.events if e.startswith("r final-a 0") and " k1 " in e]
        a, b = places[3], places[4]
        swap = {(a[4], a[5]): b, (b[4], b[5]): a}
        self.events = [" ".join(e.split()[:4] + swap[tuple(e.split()[4:6])][4:]) if e.startswith("r ") and
                       tuple(e.split()[4:6]) in swap else e for e in self.events]
        self.assertIn("order", findings(self.events))

    def test_real_time(self):
        first = [e for e in self.events if e.startswith("r final-a 1")][0].split()
        at = next(i for i, e in enumerate(self.events) if e.startswith("s ") and e.split()[2:4] == first[4:6])
        self.put(at, ["s", 10 ** 9] + self.events[at].split()[2:])
        self.assertEqual(findings(self.events), ["real-time"])

    def test_torn_batch(self):
        self.events = ["g b1 100 102 101" if e.startswith("g ") else e for e in self.events]
        self.assertEqual(findings(self.events), ["torn"])

    def test_misplaced(self):
        at, words = self.fields("s", 50)
        self.put(at, words[:4] + [1 - int(words[4])])
        self.assertIn("misplaced", findings(self.events))

    def test_stale_end(self):
        at, words = self.fields("e", 30)
        self.put(at, words[:4] + [int(words[4]) - 3])
        self.assertEqual(findings(self.events), ["stale-end"])

    def test_unknown_topic(self):
        at, words = self.fields("m", 30)
        self.put(at, words[:3] + [3])
        self.assertEqual(findings(self.events), ["unknown-topic"])

    def test_values_are_told_from_others(self):
        for n in range(200):
            self.assertEqual(identify(value("h1", n)), ("h1", n, "good"))
        self.assertGreater(max(len(value("h1", n)) for n in range(200)), 5000)
        self.assertEqual(identify(value("h1", 5)[:-1] + b"x"), ("h1", 5, "bad"))
        self.assertEqual(identify(b"{}"), ("?", -1, "bad"))


if __name__ == "__main__":
    unittest.main()
