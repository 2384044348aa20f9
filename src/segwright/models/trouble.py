"""What went wrong with the hub, by kind, in a sentence that names what the user can change."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from segwright.errors import SegwrightError, WeightsError
from segwright.models.repositories import WAYS_OUT, cache, reason

PASSING = (408, 429, 500, 502, 503, 504)
SILENCE = 10.0  # seconds without a byte; tried twice, so a silent server is given up after 20


class StatusError(Exception):
    """An answer of the hub that is an error.

    Attributes:
        code: the HTTP status.
        kind: the hub's own word for it: "GatedRepo", "RepoNotFound", "RevisionNotFound", "EntryNotFound" ...
        wait: seconds after which it may be asked again, if it says so.
    """

    def __init__(self, code: int, text: str, kind: str, wait: float | None) -> None:
        super().__init__(f"{code} {text}".strip())
        self.code, self.kind, self.wait = code, kind, wait

    @classmethod
    def of(cls, response: Any) -> Self:
        headers = response.headers
        return cls(response.status_code, headers.get("X-Error-Message", ""), headers.get("X-Error-Code", ""), _wait(headers))


def _wait(headers: Any) -> float | None:
    """Seconds by ``Retry-After``, or by the draft standard's ``ratelimit: "api";r=0;t=55`` (remaining, time)."""
    after = headers.get("Retry-After", "")
    if after.strip().isdecimal():
        return float(after)
    limit = re.search(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
    return float(limit[1]) if limit else None


def is_silence(error: BaseException) -> bool:
    """A server that did not answer in time."""
    return "TimeoutException" in _kinds(error) or isinstance(error, TimeoutError)


def is_refusal(error: BaseException) -> bool:
    """No connection came about at all."""
    return "ConnectError" in _kinds(error)


def may_pass(error: BaseException) -> bool:
    """It may go better at the next try: a broken connection, a hub that is unwell for a moment, too many requests."""
    if isinstance(error, StatusError):
        return error.code in PASSING
    if "UnsupportedProtocol" in _kinds(error):
        return False
    return "TransportError" in _kinds(error) or isinstance(error, (ConnectionError, TimeoutError))


def _kinds(error: BaseException) -> set[str]:
    """Names of an exception's classes; the hub's client moved from one HTTP library to the next, with the same names."""
    return {kind.__name__ for kind in type(error).__mro__}


@contextmanager
def explained(repo: str, doing: str) -> Iterator[None]:
    """Whatever the network, the hub or the disk raise, as one ``WeightsError``."""
    try:
        yield
    except SegwrightError:
        raise
    except Exception as error:
        raise WeightsError(sentence(error, repo, doing)) from error


def sentence(error: Exception, repo: str, doing: str) -> str:
    """The sentence for an error met while ``doing`` something with a repository."""
    if isinstance(error, StatusError):
        return f"{_status(error, repo, doing)}; {WAYS_OUT}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {cache()} is full while {doing}; make room, or set HF_HOME to a larger disk (what came is kept)"
    if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)) and error.errno is not None:
        return f"{cache()} cannot be written while {doing} ({reason(error)}); set HF_HOME to a folder that can"
    return f"{_network(error, doing)}; {WAYS_OUT}"


def _status(error: StatusError, repo: str, doing: str) -> str:
    from huggingface_hub import constants

    page = f"{constants.ENDPOINT}/{repo}"
    if error.kind == "GatedRepo":
        return (
            f"{repo} is gated ({error}): accept its licence at {page} while logged in, make a token at "
            f"{constants.ENDPOINT}/settings/tokens, and give it as HF_TOKEN (or by `hf auth login`)"
        )
    if error.code in (401, 403):
        return (
            f"the hub refused {doing} ({error}): the repository is private or gone, or the token in HF_TOKEN is missing or wrong; "
            f"see {page}"
        )
    if error.code == 404:
        return f"{repo} is not on {constants.ENDPOINT} ({error}); if HF_ENDPOINT names a mirror, it may lack it"
    if error.code == 429:
        again = f", for {error.wait:.0f} s" if error.wait is not None else ""
        return f"the hub allows no more requests now{again} ({error}) while {doing}; wait, or give a token as HF_TOKEN"
    if error.code >= 500:
        return f"the hub is unwell ({error}) while {doing}; try again later, or a mirror by HF_ENDPOINT"
    return f"the hub answered {error} while {doing}"


def _network(error: Exception, doing: str) -> str:
    from huggingface_hub import constants

    kinds, text = _kinds(error), reason(error)
    if kinds & {"UnsupportedProtocol", "InvalidURL"}:
        return f"{constants.ENDPOINT} is no address that can be asked ({text}); HF_ENDPOINT must be one as https://huggingface.co"
    if "UnicodeEncodeError" in kinds:
        return f"the token in HF_TOKEN holds characters that no token has, so it was not sent while {doing}"
    if isinstance(error, (ValueError, KeyError, TypeError, AttributeError)):
        return (
            f"{constants.ENDPOINT} answered with something that no hub says while {doing} ({text[:80]}); a proxy or the network's "
            "login page may stand in its place, or HF_ENDPOINT names no mirror"
        )
    if is_silence(error):
        return (
            f"no answer within {2 * SILENCE:.0f} s while {doing}; the server is silent: try again, "
            "or check HF_ENDPOINT and the proxy (HTTPS_PROXY)"
        )
    if "OfflineModeIsEnabled" in kinds:
        return f"HF_HUB_OFFLINE forbids the network while {doing}; unset it"
    if "ProxyError" in kinds:
        return f"the proxy (HTTPS_PROXY, HTTP_PROXY) refused {doing} ({text})"
    if "CERTIFICATE" in text.upper():
        return f"the certificate of {constants.ENDPOINT} is not trusted ({text}) while {doing}; SSL_CERT_FILE may name another"
    if "refused" in text.lower():
        return f"{constants.ENDPOINT} refused the connection while {doing} ({text}); check HF_ENDPOINT and the proxy (HTTPS_PROXY)"
    if "ConnectError" in kinds:
        return (
            f"no network: {constants.ENDPOINT} cannot be reached while {doing} ({text}); "
            "a proxy is set by HTTPS_PROXY, a mirror by HF_ENDPOINT"
        )
    return f"the connection was lost while {doing} ({text}); try again, the download resumes"
