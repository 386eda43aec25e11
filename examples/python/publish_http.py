"""Publishes a message over HTTP: publish_http.py URL CHANNEL JSON

The answer arrives after RabbitMQ has confirmed the message. While the replica cannot publish, it answers 503 with
Retry-After. Every attempt carries the same key, so that a repeated message is delivered once.
"""

import json
import sys
import time
import urllib.error
import urllib.request
import uuid

ATTEMPTS = 5
TIMEOUT = 15  # Seconds; longer than WARREN_PUBLISH_TIMEOUT.


def publish(url, channel, text):
    """Returns the id of the message. Raises if it is refused, or not confirmed after all attempts."""
    message = {"channel": channel, "text": text, "key": str(uuid.uuid4())}
    body = json.dumps(message).encode()
    for attempt in range(1, ATTEMPTS + 1):
        request = urllib.request.Request(
            f"{url}/messages", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return json.load(response)["id"]
        except urllib.error.HTTPError as error:
            if error.code != 503 or attempt == ATTEMPTS:
                raise SystemExit(f"refused: {error.read().decode()}") from error
            pause = int(error.headers.get("Retry-After", "1"))
        except OSError as error:
            if attempt == ATTEMPTS:
                raise SystemExit(f"cannot reach {url}: {error}") from error
            pause = 1
        time.sleep(pause)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    print(publish(sys.argv[1].rstrip("/"), sys.argv[2], json.loads(sys.argv[3])))
