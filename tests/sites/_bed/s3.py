"""The few S3 calls that the bed makes itself, signed by hand (AWS signature version 4)."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from .steps import BedError


@dataclass(frozen=True)
class S3:
    """An object store and a login for it."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    ca: Path

    def call(self, method: str, path: str, timeout: float = 5) -> tuple[int, bytes]:
        """One request without body or query: status and answer. Raises OSError when it can not be reached."""
        place = urlsplit(self.endpoint)
        assert place.hostname is not None
        now = datetime.datetime.now(datetime.UTC)
        headers = signed(self, method, path, f"{place.hostname}:{place.port}", now)
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(place.hostname, place.port, timeout=timeout, context=context)
        try:
            connection.request(method, quote(path), headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def ready(self) -> bool:
        try:
            return self.call("GET", "/", timeout=3)[0] == 200
        except OSError:
            return False

    def make_bucket(self, name: str) -> None:
        status, answer = self.call("PUT", f"/{name}")
        if status not in (200, 409):
            raise BedError(f"Bucket {name} at {self.endpoint} could not be made: {status} {answer[:200]!r}")


def signed(store: S3, method: str, path: str, host: str, now: datetime.datetime) -> dict[str, str]:
    """The headers that authenticate a request without a body."""
    day, moment = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    nothing = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": nothing, "x-amz-date": moment}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"{method}\n{quote(path)}\n\n{lines}\n{names}\n{nothing}"
    scope = f"{day}/{store.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{store.secret_key}".encode()
    for word in (day, store.region, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{store.access_key}/{scope}"
    return {
        **headers,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}",
    }
