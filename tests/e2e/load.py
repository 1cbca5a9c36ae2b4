"""Sends 50 requests a second for some seconds to a URL, each on its own; prints what became of them.

One object in JSON: `seen`, how often there was each kind of answer, and `spans`, from when to when each request
was on its way, in seconds since the epoch.

Runs inside a pod: `python3 - URL SECONDS [HOST]`; HOST is what the requests say if it is not the URL's.
"""

import collections
import concurrent.futures
import http.client
import json
import sys
import time
import urllib.error
import urllib.request

RATE = 50
TIMEOUT = 30.0  # seconds: on a machine that has too much to do, an answer is late, but no failure


def ask(url: str, headers: dict[str, str]) -> str:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            answer.read()
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"


def timed(url: str, headers: dict[str, str]) -> tuple[str, float, float]:
    sent = time.time()
    return ask(url, headers), sent, time.time()


def main(url: str, seconds: float, *host: str) -> None:
    headers = {"Host": host[0]} if host else {}
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max_workers=32) as pool:
        asked = []
        for number in range(int(RATE * seconds)):
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            asked.append(pool.submit(timed, url, headers))
        answers = [future.result() for future in asked]
    seen = collections.Counter(answer for answer, _, _ in answers)
    print(json.dumps({"seen": seen, "spans": [span for _, *span in answers]}))


main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
