"""The link to the inbox on Dagster's own pages, with how much waits: one script of ours, let in by the page's nonce."""

from __future__ import annotations

import logging
import re

from starlette.responses import Response

log = logging.getLogger(__name__)

_NONCE = re.compile(r"'nonce-([0-9A-Za-z+/=_-]+)'")
_END = b"</head>"


def with_badge(page: Response) -> Response:
    """Return Dagster's page with our script on it; a page that is not as we know it is left as it is."""
    nonce = _NONCE.search(page.headers.get("content-security-policy", ""))
    body = bytes(page.body)
    if nonce is None or _END not in body:
        log.warning("the Dagster UI has no link to the inbox: its page is not as it was")
        return page
    script = f'<script src="/claw/badge.js" nonce="{nonce[1]}" defer></script>'.encode()
    page.body = body.replace(_END, script + _END, 1)
    page.headers["content-length"] = str(len(page.body))
    return page
