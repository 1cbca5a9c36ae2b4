"""Sends 50 requests a second for some seconds to a URL, each on its own; prints how each kind of answer counts.

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


def ask(url: str, headers: dict[str, str]) -> str:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            answer.read()
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"


def main(url: str, seconds: float, *host: str) -> None:
    headers = {"Host": host[0]} if host else {}
    seen: collections.Counter[str] = collections.Counter()
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max_workers=32) as pool:
        asked = []
        for number in range(int(RATE * seconds)):
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            asked.append(pool.submit(ask, url, headers))
        seen.update(future.result() for future in asked)
    print(json.dumps(seen))


main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
