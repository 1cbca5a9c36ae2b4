"""Sends 50 requests a second for some seconds to a URL, each on its own; prints how each kind of answer counts.

Runs inside a pod: `python3 - URL SECONDS`.
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


def ask(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            answer.read()
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"


def main(url: str, seconds: float) -> None:
    seen: collections.Counter[str] = collections.Counter()
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max_workers=32) as pool:
        asked = []
        for number in range(int(RATE * seconds)):
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            asked.append(pool.submit(ask, url))
        seen.update(future.result() for future in asked)
    print(json.dumps(seen))


main(sys.argv[1], float(sys.argv[2]))
