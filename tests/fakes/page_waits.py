"""Opening pages, and waiting inside one that has a strict content security policy."""

from typing import Any, Protocol

from playwright.async_api import Page

WAIT_MS = 10_000


class OpenPage(Protocol):
    """Opens *path* in a browser context of its own. *script* runs before the page's; *options*
    are Playwright's for a context, and ``base``: another origin than the server's."""

    async def __call__(self, path: str, *, script: str = "", **options: Any) -> Page: ...


async def until(page: Page, condition: str) -> None:
    """Wait until the JavaScript expression *condition* is true in *page*.

    ``page.wait_for_function`` needs eval, which the pages' policy forbids; an expression that is
    evaluated from outside does not.
    """
    kept = await page.evaluate(
        f"""new Promise((resolve) => {{
          const end = performance.now() + {WAIT_MS};
          const look = () => {{
            let holds = false;
            try {{ holds = Boolean({condition}); }} catch {{}}
            if (holds || performance.now() > end) resolve(holds);
            else setTimeout(look, 30);
          }};
          look();
        }})"""
    )
    assert kept, f"waited in vain for {condition}"
