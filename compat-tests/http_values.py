"""http_values.py HOST:PORT TOPIC [FIRST_OFFSET]: every record value of the topic, one a line, read page by page with
GET /topics/TOPIC/consume. A JSON value is printed as the bytes that the gateway sent, not parsed and written again."""
import base64
import json
import re
import sys
import urllib.request

MESSAGE = re.compile(r'\{\s*"offset"\s*:\s*(\d+)\s*,\s*"payload"\s*:\s*')


def raw_values(text):
    """offset -> the payload's own text, of every message of an answer."""
    values, decoder, position = {}, json.JSONDecoder(), 0
    while match := MESSAGE.search(text, position):
        _, position = decoder.raw_decode(text, match.end())
        values[int(match.group(1))] = text[match.end():position]
    return values


def main():
    address, topic = sys.argv[1:3]
    offset = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    while True:
        with urllib.request.urlopen(f"http://{address}/topics/{topic}/consume?offset={offset}&limit=100") as answer:
            body = answer.read().decode()
        page = json.loads(body)
        if not page["messages"]:
            break
        raw = raw_values(body)
        for message in page["messages"]:
            if message["offset"] != offset:
                sys.exit(f"offset {message['offset']} where {offset} was due")
            encoding = message.get("encoding")
            if encoding == "text":
                value = message["payload"].encode()
            elif encoding == "base64":
                value = base64.b64decode(message["payload"])
            else:
                value = raw[offset].encode()
            sys.stdout.buffer.write(value + b"\n")
            offset += 1
        if page["next_offset"] != offset:
            sys.exit(f"next_offset {page['next_offset']} after offset {offset - 1}")


main()
